"""The engine of `softprompt serve` on a CPU, without its thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.engine.events import EngineEvent
from server.engine.paged.engine import Engine
from server.engine.paged.options import EngineOptions
from server.engine.request import Request
from server.engine.thread.step_engine import StepEngine
from server.model.attention_backend import choose_backend
from server.model.base_model import LoadedModel
from server.model.serving_runner import build_runner

_BLOCK_SIZE, _NUM_BLOCKS = 16, 2048
MAX_BATCH_TOKENS = 512  # a server's default on a CPU


def build_engine(loaded: LoadedModel) -> Engine:
    """The engine of a base model with a decoder."""
    options = EngineOptions(
        num_blocks=_NUM_BLOCKS,
        block_size=_BLOCK_SIZE,
        max_prefix_blocks=_NUM_BLOCKS // 4,
        max_num_seqs=64,
        max_batch_tokens=MAX_BATCH_TOKENS,
        max_open_requests=1000,
        max_context=loaded.architecture.max_context,
        vocab_size=loaded.architecture.vocab_size,
        eos_token_ids=frozenset(),
        decoding=loaded.decoding,
        max_encoder_positions=loaded.architecture.max_encoder_positions or 0,
    )
    runner = build_runner(loaded, choose_backend(loaded.device), options.num_blocks, _BLOCK_SIZE, options.max_num_seqs)
    return Engine(runner, options)


def answer_all(
    engine: StepEngine, requests: Sequence[Request[Any]]
) -> tuple[Mapping[int, list[EngineEvent]], list[int]]:
    """The events of each request, by its index, and the rows of each step."""
    events: dict[int, list[EngineEvent]] = {index: [] for index in range(len(requests))}
    rows = []
    for index, request in enumerate(requests):
        engine.add(request, events[index].append)
    while engine.has_work:
        engine.step()
        rows.append(engine.stats.num_last_tokens)
    return events, rows
