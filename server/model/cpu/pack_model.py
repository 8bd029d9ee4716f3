"""Replaces a model's frozen linear layers by packed ones, layer by layer, so that few weights exist twice at a time.

A layer is replaced only if its packed form gives the original's numbers. Only a matrix that is the token embedding too
is kept twice: look-ups need the original. The query, key and value projections of an attention layer read the same
rows, and are packed as one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers.pytorch_utils import Conv1D

from server.model.allocator import trim_heap
from server.model.cpu.few_rows import panels_of
from server.model.cpu.mapped_weights import MappedFiles
from server.model.cpu.packing import (
    PROJECTIONS,
    JointLinear,
    JointProjection,
    OneDnnWeight,
    PackedLinear,
    multiply,
)
from server.model.loading.progress import Progress

# Below this many weights the kernel's fixed cost (about 13 µs per call) is larger than its gain.
_MIN_WEIGHTS = 1 << 16
# oneDNN makes a kernel per number of rows and shape of layer, in about 0.5 ms and 0.6 MiB. By default it and PyTorch
# each keep 1,024 of them: over 600 MiB for one model.
_KERNELS_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "256"}
# Freed originals that may lie in the heap before it is trimmed, which takes milliseconds.
_TRIM_BYTES = 64 << 20
_PROJECTIONS = (
    PROJECTIONS,
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
)
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


@dataclass(frozen=True, slots=True)
class Packing:
    """The result of packing. `num_bytes_twice` is the memory of packed weights whose originals are kept too."""

    num_layers: int
    num_bytes_twice: int


Pack = Callable[[torch.Tensor, torch.Tensor | None, bool], PackedLinear | None]
"""Makes the packed form of a weight `[out_features, in_features]` and its bias; None leaves the layer as it is.

The last argument says that another module keeps the weight.
"""


def pack_linears(model: torch.nn.Module, progress: Progress | None = None, pack: Pack | None = None) -> Packing:
    """Replace every frozen linear layer on a CPU whose packed form is faster and gives the same numbers.

    `pack` makes another form of them than oneDNN's. One layer after the other: an original's memory is returned before
    the next layer is packed. `progress` takes the bytes of each original. Bounds the libraries' caches of kernels,
    unless the environment sets them. The libraries read the environment when they first cache a kernel.
    """
    for name, number in _KERNELS_KEPT.items():
        os.environ.setdefault(name, number)
    packer = _Packer(model, progress, pack or pack_for_onednn)
    for names in _names_of_modules(model):
        packer.pack(names)
    return packer.result()


def linear_bytes(model: torch.nn.Module) -> int:
    """Bytes of the weights that packing may replace: what its progress adds up to."""
    return sum(weight.nbytes for weight in linear_weights(model))


def linear_weights(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """The weights that packing may replace, `[out_features, in_features]`."""
    return (weight for module in model.modules() if (weight := _weight_of(module)) is not None)


def _names_of_modules(model: torch.nn.Module) -> list[list[str]]:
    """The names of each module, parents first. They hold no module: one that is replaced must be freed."""
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return list(names.values())


class _Packer:
    """Packs one module at a time and frees the original."""

    def __init__(self, model: torch.nn.Module, progress: Progress | None, pack: Pack) -> None:
        self._model = model
        self._progress = progress
        self._pack = pack
        self._kept = {
            parameter.data_ptr()
            for module in model.modules()
            if _weight_of(module) is None
            for parameter in module.parameters(recurse=False)
        }
        self._mapped = MappedFiles()
        self._num_layers = 0
        self._num_bytes_twice = 0
        self._num_bytes_freed = 0

    def pack(self, names: list[str]) -> None:
        """Pack the module with these names, if it is a linear layer or has projections to join."""
        module: Any = self._model.get_submodule(names[0])
        self._num_layers += _join(module, self._pack, self._release)
        weight = _weight_of(module)
        if weight is None:
            return
        is_kept = weight.data_ptr() in self._kept
        packed = self._pack(weight, module.bias, is_kept)
        if packed is not None:
            for name in names:
                self._model.set_submodule(name, packed)
            self._num_layers += 1
            self._num_bytes_twice += weight.nbytes if is_kept else 0
        self._release(weight, is_replaced=packed is not None)

    def result(self) -> Packing:
        """What was packed. Memory that was freed since the last call goes back to the system."""
        trim_heap()
        return Packing(self._num_layers, self._num_bytes_twice)

    def _release(self, weight: torch.Tensor, is_replaced: bool = True) -> None:
        """Count a weight. Drop its pages if a file holds them, since packing alone read them.

        What earlier layers have freed goes back to the system too. glibc keeps it in the heap of the thread that
        allocated it, which is not the one that packs.
        """
        if self._progress is not None:
            self._progress(weight.nbytes)
        if is_replaced and not self._mapped.drop(weight):
            self._num_bytes_freed += weight.nbytes
        if self._num_bytes_freed > _TRIM_BYTES:
            trim_heap()
            self._num_bytes_freed = 0


def _join(attention: torch.nn.Module, pack: Pack, release: Callable[[torch.Tensor], object]) -> int:
    """Pack a self-attention layer's projections as one, if it has them; returns how many there are.

    Calls `release` with each original weight.
    """
    if _is_cross(attention):
        return 0
    names = next((names for names in _PROJECTIONS if hasattr(attention, names[0])), PROJECTIONS)
    linears: list[Any] = [linear for name in names if type(linear := getattr(attention, name, None)) is torch.nn.Linear]
    weights = [weight for linear in linears if (weight := _weight_of(linear)) is not None]
    biases = [linear.bias for linear in linears if linear.bias is not None]
    if len(weights) < len(names) or len(biases) not in (0, len(names)):
        return 0
    if len({weight.shape[1] for weight in weights}) > 1:
        return 0
    whole = pack(torch.cat(weights), torch.cat(biases) if biases else None, False)
    if whole is None:
        return 0
    joint = JointProjection(whole, tuple(weight.shape[0] for weight in weights))
    for index, name in enumerate(names):
        attention.set_submodule(name, JointLinear(joint, index).train(False))
        release(weights[index])
    return len(names)


def _is_cross(attention: torch.nn.Module) -> bool:
    """Whether keys and values come from an encoder: its queries read other rows."""
    return getattr(attention, "is_decoder", False) and not getattr(attention, "is_causal", True)


def _weight_of(module: torch.nn.Module) -> torch.Tensor | None:
    """The weight `[out_features, in_features]` of a layer that packing may replace; None for any other module."""
    if isinstance(module, torch.nn.Linear) and (type(module) is torch.nn.Linear or _is_falcons(module)):
        weight = module.weight.detach()
    elif type(module) is Conv1D:
        weight = module.weight.detach().t()
    else:
        return None
    if module.weight.requires_grad or weight.device.type != "cpu":
        return None
    return weight if _is_supported(weight.dtype) else None


def _is_falcons(module: torch.nn.Module) -> bool:
    """Whether it is Falcon's linear layer, which rounds once more in bfloat16. Its module need not be imported."""
    kind = type(module)
    return (kind.__module__, kind.__name__) == ("transformers.models.falcon.modeling_falcon", "FalconLinear")


def _is_supported(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def pack_for_onednn(weight: torch.Tensor, bias: torch.Tensor | None, is_kept: bool) -> PackedLinear | None:
    """The packed layer, or None if it would not be faster, or its numbers differ from the original's."""
    if weight.numel() < _MIN_WEIGHTS:
        return None
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    probe = torch.linspace(-1, 1, 3 * weight.shape[1]).reshape(3, -1).to(weight.dtype)
    expected = F.linear(probe, weight, bias)
    atol = _TOLERANCE[weight.dtype] * float(expected.abs().max())
    if not torch.allclose(multiply(probe, packed, bias), expected, rtol=0, atol=atol):
        return None
    panels = panels_of(packed, weight)
    if panels is not None:
        few = panels.multiply(probe, bias, "none")
        if few is None or not torch.allclose(few, expected, rtol=0, atol=atol):
            panels = None
    return PackedLinear(OneDnnWeight(packed, weight if is_kept else None, panels), bias).train(False)
