"""What only a CUDA device has: attention kernels, captured decode steps, copies that do not wait."""
