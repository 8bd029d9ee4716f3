"""What the replacements read of the pass that is computed now: a flat batch through the encoder or the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from server.model.attention import AttentionContext
from server.model.errors import UnsupportedArchitecture


@dataclass(frozen=True, slots=True, eq=False)
class StackPass:
    """One pass. `positions` `[num_rows]` are those of its rows.

    Of a decoder's pass, `cross` computes cross-attention, and logits are made for `logits_rows` `[num_logits]` alone.
    """

    positions: torch.Tensor
    cross: AttentionContext | None = None
    logits_rows: torch.Tensor | None = None


_current: ContextVar[StackPass | None] = ContextVar("stack_pass", default=None)


@contextmanager
def passing(stack_pass: StackPass) -> Iterator[None]:
    """Bind the pass that replacements read in forward calls of this thread."""
    token = _current.set(stack_pass)
    try:
        yield
    finally:
        _current.reset(token)


def current_pass() -> StackPass:
    """The bound pass. Raises `UnsupportedArchitecture` where none is bound."""
    if (current := _current.get()) is None:
        raise UnsupportedArchitecture("no pass is bound around this forward call")
    return current


def select_logits_rows(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
    """A pre-hook of the LM head: hand it the rows `[1, num_logits, hidden_size]` whose logits are wanted."""
    current = _current.get()
    if current is None or current.logits_rows is None:
        return None
    return (arguments[0][:, current.logits_rows], *arguments[1:])
