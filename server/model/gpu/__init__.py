"""What only a CUDA device has.

attention.py      attention through the Triton kernels
kernels.py        the Triton kernels
tiles.py          a step cut into tiles, one per program of a kernel
decode_graphs.py  which recording replays a decode step
recorder.py       records decode steps at start
cuda_graph.py     one forward pass as a CUDA graph
profile.py        measures how much memory the largest step takes
"""
