"""Hidden states of a step: the rows that leave a model's backbone, handed to the chunks that want them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel


class HiddenRows:
    """The hidden states of one chunk from the row `start` on, `[num_tokens - start, hidden_size]`.

    A runner adds them once they are computed, in parts where the chunk is computed in parts.
    """

    def __init__(self, start: int) -> None:
        self._num_skipped = start
        self._parts: list[torch.Tensor] = []

    def add(self, rows: torch.Tensor) -> None:
        """Take the hidden states of the next tokens of the chunk."""
        skipped = min(self._num_skipped, len(rows))
        self._num_skipped -= skipped
        if skipped < len(rows):
            self._parts.append(rows[skipped:].clone())  # a view would keep the whole batch in memory

    def joined(self) -> torch.Tensor:
        """All rows, once the chunk is computed."""
        return self._parts[0] if len(self._parts) == 1 else torch.cat(self._parts)


def all_finite(chunks: Sequence[HiddenRows | None]) -> list[bool]:
    """Whether the hidden states of each chunk hold no NaN and no infinity. The device is read once, or never."""
    wanted = [rows for rows in chunks if rows is not None]
    if not wanted:
        return [True] * len(chunks)
    found = iter(torch.stack([rows.joined().isfinite().all() for rows in wanted]).tolist())
    return [True if rows is None else next(found) for rows in chunks]


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[Callable[[], torch.Tensor]]:
    """Keep what the backbone of a causal model returns while the context is open: `last_hidden_state[0]`.

    It is what the classes with heads read. The hook is there for one step only.
    """
    backbone = _backbone(model)
    found: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: Any, output: Any) -> None:
        found.append(output[0][0])

    handle = backbone.register_forward_hook(keep)
    try:
        yield lambda: found[-1]
    finally:
        handle.remove()


def _backbone(model: PreTrainedModel) -> torch.nn.Module:
    """The module whose result the vocabulary's head reads; some models name that head `decoder`."""
    decoder: torch.nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]
    backbone = decoder if isinstance(decoder, PreTrainedModel) else model.base_model
    assert backbone is not model, "the model has no backbone of its own"
    return backbone
