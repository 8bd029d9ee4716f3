"""Attention and recorded steps for a CUDA device.

attention.py      attention through the Triton kernels
kernels.py        the Triton kernels
tiles.py          a step cut into tiles, one per program of a kernel
decode_graphs.py  chooses the recording of a decode step, and fills its inputs
recorder.py       records decode steps at start
cuda_graph.py     one forward pass as a CUDA graph
profile.py        measures the memory of the largest step
"""
