"""Attention and linear layers for a CPU. `_cpu.c` is an optional C module.

attention.py    attention through the C module
fused_layer.py  Llama decoder layers in ten calls
packing.py      linear layers in oneDNN's memory layout
"""
