"""Measurements of this engine beside its peers, and of how its cost grows. `python -m benchmarks --help`."""
