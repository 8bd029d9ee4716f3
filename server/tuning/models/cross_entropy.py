"""The loss of a model whose logits of a whole micro-batch fit into memory: cross-entropy with the targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import torch
from torch.nn import functional

from server.tuning.models.protocol import Batch, Judged


class TargetBatch(Batch, Protocol):
    """A batch with the index of each target's right token or label: `targets` `[num_targets]`."""

    @property
    def targets(self) -> torch.Tensor: ...  # noqa: D102 - see the class


_BatchT = TypeVar("_BatchT", bound=TargetBatch)


class CrossEntropyModel(ABC, Generic[_BatchT]):
    """The gradients and losses of a `TuningModel` that computes all logits of a micro-batch at once."""

    @abstractmethod
    def _logits(self, batch: _BatchT) -> torch.Tensor:
        """Float32 logits `[num_targets, num_classes]`."""

    def backward(self, batch: _BatchT, scale: float) -> float:
        """See `TuningModel`."""
        with torch.enable_grad():
            loss = functional.cross_entropy(self._logits(batch), batch.targets, reduction="sum")
            (loss * scale).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    @torch.no_grad()
    def judge(self, batch: _BatchT) -> Judged:
        """See `TuningModel`."""
        logits = self._logits(batch)
        losses = functional.cross_entropy(logits, batch.targets, reduction="none")
        return Judged(losses.cpu(), (logits.argmax(dim=-1) == batch.targets).cpu())
