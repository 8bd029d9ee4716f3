"""Splits a batch when the device is out of memory, so that the step goes on.

Chunks are independent of each other within a step, and a chunk's keys and values are written in order, so computing a
batch in parts gives the same cache and the same rows of logits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from server.model.flat_batch import Chunk
from server.model.kv_cache import BlockCopy
from server.model.runner import PrefixPlacement, Runner

_GROW_AFTER = 256
_NO_LIMIT = 1 << 16  # tokens: more than a step computes

logger = logging.getLogger(__name__)


class MemoryGuard:
    """A `Runner` in front of another one.

    `torch.OutOfMemoryError` halves the tokens computed at once. `_GROW_AFTER` batches without another one double them
    again, until there is no limit. For a single token that does not fit, the error is raised.
    """

    def __init__(self, runner: Runner, release: Callable[[], None] | None = None) -> None:
        self._runner = runner
        self._release = _release_cached_memory if release is None else release
        self._num_calm = 0
        self.max_tokens: int | None = None
        """Maximum number of tokens computed at once; None is no limit."""
        self.num_out_of_memory = 0

    def load_prefixes(self, placements: Sequence[PrefixPlacement]) -> tuple[BaseException | None, ...]:
        """See `Runner`. Out of memory, the prefixes are loaded one by one."""
        with suppress(torch.OutOfMemoryError):
            return self._runner.load_prefixes(placements)
        self.num_out_of_memory += 1
        logger.warning("the device is out of memory: %d soft prompts are loaded one by one", len(placements))
        self._release()
        return tuple(self._load_one(placement) for placement in placements)

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        """See `Runner`."""
        self._runner.copy_blocks(copies)

    def zero_blocks(self, blocks: Sequence[int]) -> None:
        """See `Runner`."""
        self._runner.zero_blocks(blocks)

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See `Runner`. Out of memory, the batch is computed in parts."""
        num_tokens = sum(len(chunk.tokens) for chunk in chunks)
        if self.max_tokens is not None and num_tokens > self.max_tokens:
            return self._forward_parts(chunks)
        try:
            logits = self._runner.forward(chunks)
        except torch.OutOfMemoryError:
            if num_tokens == 1:
                raise
        else:
            self._grow()
            return logits
        self._shrink(num_tokens)  # outside the handler: the exception's frames would hold the tensors of the failed try
        return self._forward_parts(chunks)

    def check_device(self) -> None:
        """See `Runner`."""
        self._runner.check_device()

    def _forward_parts(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        assert self.max_tokens is not None
        return torch.cat([self.forward(part) for part in split(chunks, self.max_tokens)])

    def _load_one(self, placement: PrefixPlacement) -> BaseException | None:
        try:
            (failure,) = self._runner.load_prefixes([placement])
        except torch.OutOfMemoryError as error:
            return error
        return failure

    def _shrink(self, num_tokens: int) -> None:
        self.num_out_of_memory += 1
        self._num_calm = 0
        self.max_tokens = max(1, num_tokens // 2)
        logger.warning("the device is out of memory: at most %d tokens are computed at once now", self.max_tokens)
        self._release()

    def _grow(self) -> None:
        if self.max_tokens is None:
            return
        self._num_calm += 1
        if self._num_calm >= _GROW_AFTER:
            self._num_calm = 0
            self.max_tokens = self.max_tokens * 2 if self.max_tokens * 2 < _NO_LIMIT else None


def split(chunks: Sequence[Chunk], max_tokens: int) -> list[list[Chunk]]:
    """The same chunks, in order, in parts of at most `max_tokens`. A chunk that crosses a border is divided."""
    parts: list[list[Chunk]] = [[]]
    room = max_tokens
    for chunk in chunks:
        begin = 0
        while begin < len(chunk.tokens):
            if room == 0:
                parts.append([])
                room = max_tokens
            end = min(len(chunk.tokens), begin + room)
            parts[-1].append(_part(chunk, begin, end))
            room -= end - begin
            begin = end
    return parts


def _part(chunk: Chunk, begin: int, end: int) -> Chunk:
    logits_from = chunk.logits_from
    if logits_from is not None:
        logits_from = max(logits_from, begin) - begin if logits_from < end else None
    cross = chunk.cross
    if cross is not None and begin > 0:
        cross = replace(cross, new=None)  # the first part computes it
    tokens = chunk.tokens[begin:end]
    return replace(chunk, tokens=tokens, start=chunk.start + begin, logits_from=logits_from, cross=cross)


def _release_cached_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
