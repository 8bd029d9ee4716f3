"""Attention and linear layers for a CPU. `_cpu.c` is an optional C module.

attention.py       attention through the C module
few_rows.py        products of a few rows, through the C module
fused_parts.py     the parts of an encoder layer in one kernel each
fused_layer.py     Llama decoder layers in ten calls
int8_weight.py     weights of 8 bits, and their products by the C module or PyTorch
mapped_weights.py  pages of weights that packing replaced
pack_model.py      replaces linear layers by packed ones, layer by layer
packing.py         linear layers over packed weights: oneDNN's memory layout
quantise_model.py  replaces linear layers and the embedding by weights of fewer bits
widened_weight.py  weights of bfloat16 or 8 bits, multiplied in float32
"""
