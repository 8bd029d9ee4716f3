"""A half-precision module tree that computes in float32, with at most one layer's weights widened at a time.

Half precision hides small faults under its rounding. The self-proof compares two such trees, in which it hides none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from server.model.cpu.packing import JointLinear, PackedLinear

_BLOCK_WEIGHTS = 1 << 22  # 16 MiB in float32

_Kept = list[tuple[dict[str, torch.Tensor | None], str, torch.Tensor]]


def compute_in_float32(tree: torch.nn.Module) -> None:
    """Widen each layer's weights just before it runs, and drop the wide copies after it. Call it on a twin.

    A layer is a child of an outermost `ModuleList`. Elsewhere each module with weights of its own counts as one, but
    embeddings stay as they are, and their rows are widened: a vocabulary of weights costs gigabytes.
    """
    head: Any = tree.get_output_embeddings() if isinstance(tree, PreTrainedModel) else None  # type: ignore[no-untyped-call]
    for name, module in list(tree.named_modules(remove_duplicate=False)):
        if isinstance(module, (PackedLinear, JointLinear)) or (module is head and type(module) is torch.nn.Linear):
            tree.set_submodule(name, _Float32Linear(module))
    for layer in _layers(tree):
        if isinstance(layer[0], torch.nn.Embedding):
            layer[0].register_forward_hook(_widen_output)
        else:
            kept: _Kept = []
            layer[0].register_forward_pre_hook(partial(_widen, layer, kept))
            layer[0].register_forward_hook(partial(_restore, kept))


class _Float32Linear(torch.nn.Module):
    """A linear layer that is unpacked and widened at each call, by blocks of rows: a vocabulary has many."""

    def __init__(self, narrow: PackedLinear | JointLinear | torch.nn.Linear) -> None:
        super().__init__()
        self._narrow = (narrow,)  # no submodule: its tensors stay as they are
        for hook in narrow._forward_pre_hooks.values():  # an encoder-decoder's head picks its rows
            self.register_forward_pre_hook(hook)

    @property
    def weight(self) -> torch.Tensor:
        """In float32: T5's feed-forward layer reads its dtype."""
        return self._narrow[0].weight.float()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        (narrow,) = self._narrow
        weight, bias = narrow.weight, narrow.bias
        blocks = torch.split(weight, max(1, _BLOCK_WEIGHTS // weight.shape[1]))
        product = torch.cat([F.linear(hidden, block.float()) for block in blocks], dim=-1)
        return product if bias is None else product + bias.float()


def _layers(module: torch.nn.Module) -> Iterator[list[torch.nn.Module]]:
    """The modules of each layer, the outermost first."""
    if module._parameters or module._buffers:
        yield [module]
    for child in module.children():
        if isinstance(child, torch.nn.ModuleList):
            yield from (list(layer.modules()) for layer in child)
        else:
            yield from _layers(child)


def _widen(layer: list[torch.nn.Module], kept: _Kept, *_: Any) -> None:
    for module in layer:
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_floating_point() and tensor.dtype != torch.float32:
                    kept.append((tensors, name, tensor))  # type: ignore[arg-type]
                    tensors[name] = tensor.float()  # type: ignore[assignment]


def _restore(kept: _Kept, *_: Any) -> None:
    while kept:
        tensors, name, tensor = kept.pop()
        tensors[name] = tensor


def _widen_output(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return output.float()
