"""`python -m server.cli.tasks.pickle_worker ORDER`: reads an `adapter_model.bin` in a process that ends with it.

pickle_process.py starts it. The file is a pickle from outside. PyTorch reads it without running what it names
(`weights_only`), and the system bounds what a fault of that reader could use: memory, time and bytes written.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts_store.checkpoint.head import HEAD_PREFIX
from prompts_store.checkpoint.left_out import advice_without_rows, is_left_out

if TYPE_CHECKING:
    import torch

ROOM_BYTES = 512 * 1024 * 1024
"""Memory beside the copies of the file: what reading imports and allocates."""
COPIES = 4
"""Of the file in memory: as it is read, a tensor's values, and two while they are written."""
CHECKED_BYTES = 256 * 1024 * 1024
"""The checksums of a larger file are not compared: that would read the embedding layer too."""

_PAGE_COUNTS = Path("/proc/self/statm")
_CODE = re.compile(r"GLOBAL ([\w.]+)")
_QUOTED = 96
_SHOWN = 4


class Refused(Exception):
    """The file cannot be converted. The message is the rest of a sentence that begins with the file's path."""


def main(order: str) -> None:
    """Read the file and write the tensors that are expected. Print an answer for pickle_process.py as JSON.

    `order` is a JSON object with `file`, `target`, `names`, `has_head`, `max_tensor_bytes` and `seconds`.
    """
    given = json.loads(order)
    try:
        left_out = _convert(**given)
    except Refused as refusal:
        answer: dict[str, object] = {"refused": str(refusal)}
    except MemoryError:
        answer = {"refused": "needs more memory than its size allows"}
    else:
        answer = {"left_out": left_out}
    print(json.dumps(answer))


def _convert(
    *, file: str, target: str, names: Sequence[str], has_head: bool, max_tensor_bytes: int, seconds: int
) -> list[tuple[str, int]]:
    from safetensors.torch import save

    _set_bounds(COPIES * os.stat(file).st_size + ROOM_BYTES, seconds)
    found = read_tensors(file)
    kept, left_out = sort_tensors(found, names, has_head=has_head)
    check_tensors(kept, max_tensor_bytes)
    content = save({name: tensor.detach().clone().contiguous() for name, tensor in kept.items()}, {"format": "pt"})
    with open(target, "xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return [(name, found[name].nbytes) for name in left_out]


def _set_bounds(room_bytes: int, seconds: int) -> None:
    """Bound this process. PyTorch is imported before, because what it maps depends on its build, not on the file."""
    import torch  # noqa: F401

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _PAGE_COUNTS.exists():  # Linux; macOS does not hold a process to RLIMIT_AS
        used = int(_PAGE_COUNTS.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room_bytes, used + room_bytes))


def read_tensors(file: str) -> Mapping[str, torch.Tensor]:
    """Return what the pickle holds, by name. A file in PyTorch's zip format is mapped: what is left out is not read.

    Raises Refused and MemoryError.
    """
    import torch

    try:
        is_zip = zipfile.is_zipfile(file)
        if is_zip:
            _check_records(file)
        found: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except (MemoryError, Refused):
        raise
    except Exception as error:  # a damaged file makes PyTorch raise errors of many types
        raise Refused(_reason(error)) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.items()
    ):
        raise Refused("holds something else than tensors by name")
    return found


def sort_tensors(
    found: Mapping[str, torch.Tensor], names: Sequence[str], *, has_head: bool = False
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors of these names, and the other names, which a served soft prompt does not need.

    See prompts_store/checkpoint/left_out.py. With `has_head`, other tensors of the base model are kept too: whether
    they are its head is checked when they are published. Raises Refused.
    """
    missing = [name for name in names if name not in found]
    head = [name for name in found if has_head and name.startswith(HEAD_PREFIX) and not is_left_out(name)]
    others = [name for name in found if name not in names and name not in head]
    if missing and (advice := advice_without_rows(others)):
        raise Refused(f"cannot be converted. {advice}")
    if unknown := [name for name in others if not is_left_out(name)]:
        raise Refused(f"holds tensors that no soft prompt has: {listed(unknown)}")
    if missing:
        raise Refused(f"lacks {missing[0]}")
    return {name: found[name] for name in (*names, *head)}, others


def check_tensors(tensors: Mapping[str, torch.Tensor], max_tensor_bytes: int) -> None:
    """Raise Refused unless these are plain tensors that a server reads, of at most this many bytes as float32."""
    import torch

    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise Refused(f"holds {name} in a form that safetensors does not have")
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise Refused(f"holds {name} as {dtype}; only float32, float16, bfloat16 and float64 are read")
    if 4 * sum(tensor.numel() for tensor in tensors.values()) > max_tensor_bytes:
        raise Refused(f"holds a soft prompt of more than {max_tensor_bytes} bytes as float32 (--max-tensor-bytes)")


def listed(names: Sequence[str]) -> str:
    """Return the first names, cut, and the number of the others."""
    shown = ", ".join(name[:_QUOTED] for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _check_records(file: str) -> None:
    """Raise Refused if a record is compressed, or does not fit its checksum. PyTorch's reader checks neither.

    The bytes of a compressed record would be taken for the values.
    """
    with zipfile.ZipFile(file) as records:
        if any(record.compress_type != zipfile.ZIP_STORED for record in records.infolist()):
            raise Refused("is compressed, which PyTorch's own files are not")
        if os.stat(file).st_size <= CHECKED_BYTES and records.testzip() is not None:
            raise Refused("is damaged: a checksum in it does not fit")


def _reason(error: Exception) -> str:
    text = str(error)
    if code := _CODE.search(text):
        return f"is a pickle that holds code ({code[1][:_QUOTED]}); none of it was run"
    if "alloc" in text or "mmap" in text:
        return "needs more memory than its size allows"
    return "is damaged, or holds more than tensors"


if __name__ == "__main__":
    main(sys.argv[1])
