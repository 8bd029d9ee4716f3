"""The encoder's part of a request: its input, and the blocks of its keys and values for cross-attention.

It belongs to the request, and all its sequences read it. It holds blocks while any of them runs, and is computed in the
first step that runs one.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import torch

from server.model.flat_batch import Cross, EncoderInput


class EncoderState:
    """`block_table` covers `num_positions`, and is empty while no sequence of the request runs.

    Only the engine thread touches it.
    """

    def __init__(self, prompt: torch.Tensor | None, tokens: Sequence[int]) -> None:
        self._input = EncoderInput(prompt, tokens)
        self.num_positions = len(tokens) + (0 if prompt is None else len(prompt))
        self.block_table: list[int] = []
        self.num_readers = 0
        self.is_computed = False

    @property
    def has_prompt(self) -> bool:
        """Whether a soft prompt precedes the text."""
        return self._input.prompt is not None

    @property
    def num_to_compute(self) -> int:
        """Positions that the next step of a sequence must compute first."""
        return 0 if self.is_computed else self.num_positions

    @property
    def digest(self) -> bytes:
        """A hash of the input's text."""
        return hashlib.sha256(array("q", self._input.tokens).tobytes()).digest()

    def cross(self, *, is_first: bool) -> Cross:
        """What a chunk of one of the request's sequences attends to. The step's first chunk brings what is new."""
        is_new = is_first and not self.is_computed
        return Cross(tuple(self.block_table), self.num_positions, self._input if is_new else None)
