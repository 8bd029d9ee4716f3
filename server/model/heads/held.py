"""The parameters of heads that the base model's own files hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open


class HeldParameters:
    """The tensors in a base model's weight files, by name. Nothing is read before it is asked for.

    The files may name the parameters of a backbone with its name in the whole class, or without.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)

    def shape(self, name: str, backbone: str) -> tuple[int, ...] | None:
        """The shape of a parameter; None if no file holds it. Raises OSError and ValueError."""
        for tensors, own in self._find(name, backbone):
            return tuple(tensors[own].shape if isinstance(tensors, dict) else tensors.get_slice(own).get_shape())
        return None

    def read(self, name: str, backbone: str) -> torch.Tensor:
        """A parameter that a file holds, on the CPU. Raises OSError, ValueError and KeyError."""
        for tensors, own in self._find(name, backbone):
            tensor: torch.Tensor = tensors[own] if isinstance(tensors, dict) else tensors.get_tensor(own)
            return tensor
        raise KeyError(name)

    def _find(self, name: str, backbone: str) -> Iterator[tuple[Any, str]]:
        wanted = (name, name.removeprefix(f"{backbone}."))
        for file in self._files:
            with _opened(file) as tensors:
                names = set(tensors.keys())
                for own in wanted:
                    if own in names:
                        yield tensors, own


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """The tensors of a file: a handle of safetensors, or a dict."""
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    else:
        yield torch.load(file, map_location="cpu", weights_only=True, mmap=True)
