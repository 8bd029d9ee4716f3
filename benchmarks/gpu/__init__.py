"""What a GPU is measured on: the same contenders and records as on a CPU, against the device's memory bandwidth."""
