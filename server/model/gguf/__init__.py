"""A base model in one GGUF file, the format of llama.cpp: transformers reads it, after checks of ours.

header.py        the file's metadata and table of tensors, read with bounds
tensor_types.py  the types of tensors: their names and sizes
base_file.py     the file as a base model: its name, its end tokens, and what transformers must read of it
"""
