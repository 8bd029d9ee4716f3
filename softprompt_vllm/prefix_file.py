"""Keys and values of a soft prompt in one safetensors file, `DIGEST.safetensors`.

Tensors `k.0`, `v.0`, `k.1`, … are `[num_virtual_tokens, num_kv_heads, head_dim]`, of one dtype. Keys are rotated.
The header's metadata has the format, the digest, and the sha256 of all bytes after the header.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softprompt_vllm.claims import is_digest
from softprompt_vllm.errors import InvalidPrefixFile

if TYPE_CHECKING:
    import torch

FORMAT = "softprompt-kv-1"
_MAX_HEADER_BYTES = 1 << 20
_DTYPES = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class PrefixHeader:
    """The sizes of a file of keys and values. `data_offset` is where its tensors begin, in bytes."""

    digest: str
    num_virtual_tokens: int
    num_layers: int
    num_kv_heads: int
    head_dim: int
    sha256: str
    data_offset: int


def path_of(folder: Path, digest: str) -> Path:
    """Return the file of a digest. The digest must be one (`is_digest`): it becomes a file name."""
    assert is_digest(digest)
    return folder / f"{digest}.safetensors"


def read_header(path: Path) -> PrefixHeader:
    """Read the sizes of a file without its tensors. Raises InvalidPrefixFile."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe without a writer blocks otherwise
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidPrefixFile(f"{path} is not a regular file")
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MAX_HEADER_BYTES:
                raise InvalidPrefixFile(f"{path} is not a safetensors file")
            header = json.loads(file.read(length))
    except OSError as error:
        raise InvalidPrefixFile(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidPrefixFile(f"{path} is not a safetensors file") from error
    if not isinstance(header, dict):
        raise InvalidPrefixFile(f"{path} is not a safetensors file")
    return _checked(path, header, 8 + length)


def _checked(path: Path, header: Mapping[str, Any], data_offset: int) -> PrefixHeader:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise InvalidPrefixFile(f"{path} is not in the format {FORMAT}; write it with `softprompt vllm-export`")
    if metadata.get("digest") != path.stem:
        raise InvalidPrefixFile(f"{path} holds the soft prompt of another digest; give the file back its own name")
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    num_layers = len(tensors) // 2
    if num_layers == 0 or set(tensors) != {f"{kind}.{layer}" for layer in range(num_layers) for kind in "kv"}:
        raise InvalidPrefixFile(f"{path} does not have one key and one value per layer")
    kinds = {(str(_field(entry, "dtype")), tuple(_field(entry, "shape") or ())) for entry in tensors.values()}
    if len(kinds) != 1:
        raise InvalidPrefixFile(f"{path} has keys and values of several dtypes or shapes")
    ((dtype, shape),) = kinds
    if dtype not in _DTYPES or len(shape) != 3 or not all(type(size) is int and size > 0 for size in shape):
        raise InvalidPrefixFile(f"{path} does not have tensors [num_virtual_tokens, num_kv_heads, head_dim] of floats")
    num, heads, dim = shape
    return PrefixHeader(path.stem, num, num_layers, heads, dim, str(metadata.get("sha256")), data_offset)


def _field(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else None


def read_key_values(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Read keys and values of each layer, `[num_virtual_tokens, num_kv_heads, head_dim]`. Raises InvalidPrefixFile."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    header = read_header(path)
    try:
        content = path.read_bytes()
        if hashlib.sha256(memoryview(content)[header.data_offset :]).hexdigest() != header.sha256:
            raise InvalidPrefixFile(f"{path} is damaged: its sha256 is not the one in its header; write it again")
        tensors = load(content)
    except OSError as error:
        raise InvalidPrefixFile(f"{path} cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise InvalidPrefixFile(f"{path} is not a safetensors file") from error
    return [(tensors[f"k.{layer}"], tensors[f"v.{layer}"]) for layer in range(header.num_layers)]


def write_key_values(folder: Path, digest: str, layers: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Path:
    """Write keys and values of each layer, `[num_virtual_tokens, num_kv_heads, head_dim]`, and return the path.

    The file gets its name when it is whole, so that a running engine never reads a part. Raises OSError.
    """
    import torch
    from safetensors.torch import save

    tensors = {
        f"{kind}.{number}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)  # none shares memory
        for number, pair in enumerate(layers)
        for kind, tensor in zip("kv", pair, strict=True)
    }
    bare = save(tensors)
    data = memoryview(bare)[8 + int.from_bytes(bare[:8], "little") :]
    metadata = {"format": FORMAT, "digest": digest, "sha256": hashlib.sha256(data).hexdigest()}
    path = path_of(folder, digest)
    part = folder / f".{digest}.{secrets.token_hex(8)}"
    try:
        part.write_bytes(save(tensors, metadata))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
