"""The benchmark on a GPU: the same contenders and records as on a CPU, against the device's memory bandwidth.

__main__.py    the benchmark
sections.py    its parts
bandwidth.py   how fast the device's memory is
thresholds.py  the thresholds
"""
