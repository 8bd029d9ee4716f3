"""Size limits of input from outside. Plain numbers, so that reading a file needs no NumPy."""

from __future__ import annotations

MAX_CONFIG_BYTES = 256 * 1024
MAX_HEADER_BYTES = 64 * 1024
"""Of a safetensors file."""
MAX_FRAME_BYTES = 8 + MAX_HEADER_BYTES
"""Of a safetensors file without its tensors."""
DEFAULT_MAX_TENSOR_BYTES = 64 * 1024 * 1024
"""All tensors of a checkpoint as float32, in a store that is opened without another limit."""
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""Of a `manifest.json`: more than any valid one has."""
MIN_MEMBERS, MAX_MEMBERS = 2, 8
"""Versions of an ensemble."""
