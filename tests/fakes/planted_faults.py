"""Faults of the paged path, planted for the self-proof to find. Each is small: the answers stay plausible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import torch
from transformers import LlamaForCausalLM

from server.model import runner
from server.model.attention import AttentionBackend, AttentionCall, AttentionContext
from server.model.flat_batch import FlatBatch
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner


class _ChangedCalls:
    """Attention that computes another call than the one it is given."""

    def __init__(self, context: AttentionContext, change: Callable[[AttentionCall], AttentionCall]) -> None:
        self._context = context
        self._change = change

    def attend(self, call: AttentionCall) -> torch.Tensor:
        return self._context.attend(self._change(call))


@contextmanager
def _changed(backend: AttentionBackend, change: Callable[[AttentionCall], AttentionCall]) -> Iterator[AttentionBackend]:
    def attention(kv_cache: KVCache, batch: FlatBatch) -> AttentionContext:
        return _ChangedCalls(backend(kv_cache, batch), change)

    yield attention


def wrong_scale(backend: AttentionBackend):
    """Scores are a quarter too large."""
    return _changed(backend, lambda call: replace(call, scaling=call.scaling * 1.25))


def swapped_heads(backend: AttentionBackend):
    """The first and the last query head change places."""

    def swap(call: AttentionCall) -> AttentionCall:
        order = list(range(len(call.query)))
        order[0], order[-1] = order[-1], order[0]
        return replace(call, query=call.query[order])

    return _changed(backend, swap)


def narrow_window(backend: AttentionBackend):
    """Each position sees the last five alone."""
    return _changed(backend, lambda call: replace(call, sliding_window=5))


def no_window(backend: AttentionBackend):
    """Each position sees all before it."""
    return _changed(backend, lambda call: replace(call, sliding_window=None))


def window_one_short(backend: AttentionBackend):
    """A window ends one position too early."""

    def shorten(call: AttentionCall) -> AttentionCall:
        return call if call.sliding_window is None else replace(call, sliding_window=call.sliding_window - 1)

    return _changed(backend, shorten)


@contextmanager
def shifted_position(backend: AttentionBackend) -> Iterator[AttentionBackend]:
    """Text is computed one position too late; rotary embeddings show that behind a prefix only."""
    build = runner.build_flat_batch

    def build_shifted(*arguments) -> FlatBatch:
        batch = build(*arguments)
        return batch if batch.token_ids is None else replace(batch, positions=batch.positions + 1)

    with mock.patch.object(runner, "build_flat_batch", build_shifted):
        yield backend


@contextmanager
def missing_prefix_row(backend: AttentionBackend) -> Iterator[AttentionBackend]:
    """The fourth virtual token has zeros for keys and values."""
    load = ModelRunner.load_prefixes

    def load_less(self, placements):
        failures = load(self, placements)
        for placement in placements:
            for pages in (*self._cache.keys, *self._cache.values):
                pages[placement.blocks[0], 3] = 0
        return failures

    with mock.patch.object(ModelRunner, "load_prefixes", load_less):
        yield backend


@contextmanager
def _changed_rows(backend: AttentionBackend, change: Callable[[object], object]) -> Iterator[AttentionBackend]:
    """The llama computes logits of other rows than those that are asked for."""
    forward = LlamaForCausalLM.forward

    def forward_changed(self, *arguments, logits_to_keep=0, **options):
        return forward(self, *arguments, logits_to_keep=change(logits_to_keep), **options)

    with mock.patch.object(LlamaForCausalLM, "forward", forward_changed):
        yield backend


def logits_of_all_rows(backend: AttentionBackend):
    """Which rows are asked for is ignored, as some architectures do: the first ones are taken for them."""
    return _changed_rows(backend, lambda rows: 0)


def logits_of_last_rows(backend: AttentionBackend):
    """As many rows as are asked for, and not those."""
    return _changed_rows(backend, lambda rows: rows if isinstance(rows, int) else len(rows))


FAULTS = {
    fault.__name__: fault
    for fault in (
        shifted_position,
        wrong_scale,
        swapped_heads,
        missing_prefix_row,
        narrow_window,
        logits_of_all_rows,
        logits_of_last_rows,
    )
}

WINDOW_FAULTS = {fault.__name__: fault for fault in (no_window, window_one_short)}


@contextmanager
def only_in_half_precision(fault, backend: AttentionBackend) -> Iterator[AttentionBackend]:
    """A fault of attention that float32 does not have, as a kernel's may be."""
    with fault(backend) as faulty:

        def attention(kv_cache: KVCache, batch: FlatBatch) -> AttentionContext:
            is_half = kv_cache.keys[0].dtype != torch.float32
            return (faulty if is_half else backend)(kv_cache, batch)

        yield attention
