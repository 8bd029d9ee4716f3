"""The engine that the settings describe: its options, its KV cache and its runner."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server.engine.encoder.engine import EncoderEngine
from server.engine.encoder.options import EncoderOptions
from server.engine.events import EngineObserver
from server.engine.paged.engine import Engine
from server.engine.paged.options import MAX_SCORED_ROWS, EngineOptions
from server.engine.thread.async_engine import AsyncEngine
from server.engine.thread.background import BackgroundShare
from server.engine.thread.step_engine import Limits, StepEngine
from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel
from server.model.cpu import attention as cpu_attention
from server.model.encoder.runner import EncoderRunner
from server.model.gpu.profile import activation_bytes
from server.model.memory import CacheSize, choose_num_blocks
from server.model.serving_runner import build_runner
from server.settings import ServeSettings

logger = logging.getLogger(__name__)

_MAX_BATCH_TOKENS = {"cpu": 512, "cuda": 4096}


def build_engine(
    settings: ServeSettings,
    loaded: LoadedModel,
    attention: AttentionBackend | None,
    eos_token_ids: frozenset[int],
    observers: Sequence[EngineObserver] = (),
) -> AsyncEngine:
    """The engine, not started yet. `observers` see every request that it accepts. An encoder has no `attention`.

    Raises `ModelError` where memory is too small for it.
    """
    engine: StepEngine
    limits: Limits
    if attention is None:
        engine, limits = _encoder(settings, loaded)
    else:
        engine, limits = _paged(settings, loaded, attention, eos_token_ids)
    share = BackgroundShare(settings.tuning_share, settings.tuning_min_share)
    return AsyncEngine(engine, limits, wedged_after_s=settings.engine_timeout_s, background=share, observers=observers)


def _encoder(settings: ServeSettings, loaded: LoadedModel) -> tuple[EncoderEngine, EncoderOptions]:
    options = EncoderOptions(
        max_num_seqs=settings.max_num_seqs,
        max_batch_tokens=settings.max_batch_tokens or _MAX_BATCH_TOKENS[loaded.device.type],
        max_open_requests=_max_open_requests(settings),
        max_context=loaded.architecture.max_context,
        vocab_size=loaded.architecture.vocab_size,
        batch_share=settings.batch_share,
    )
    return EncoderEngine(EncoderRunner(loaded), options), options


def _paged(
    settings: ServeSettings, loaded: LoadedModel, attention: AttentionBackend, eos_token_ids: frozenset[int]
) -> tuple[Engine, EngineOptions]:
    max_batch_tokens = max(
        settings.max_batch_tokens or _MAX_BATCH_TOKENS[loaded.device.type], settings.max_num_seqs + 1
    )
    num_blocks = _num_blocks(settings, loaded, attention, max_batch_tokens)
    logger.info("KV cache: %d blocks of %d tokens on %s", num_blocks - 1, settings.block_size, loaded.device)
    if loaded.device.type == "cpu" and not cpu_attention.is_built():
        logger.info("decodes are slower than they could be: this installation had no C compiler")
    options = EngineOptions(
        num_blocks=num_blocks,
        block_size=settings.block_size,
        max_prefix_blocks=max(1, int((num_blocks - 1) * settings.max_prefix_share)),
        max_num_seqs=settings.max_num_seqs,
        max_batch_tokens=max_batch_tokens,
        max_open_requests=_max_open_requests(settings),
        max_context=loaded.architecture.max_context,
        vocab_size=loaded.architecture.vocab_size,
        eos_token_ids=eos_token_ids,
        decoding=loaded.decoding,
        max_encoder_positions=loaded.architecture.max_encoder_positions or 0,
        batch_share=settings.batch_share,
    )
    runner = build_runner(loaded, attention, num_blocks, settings.block_size, settings.max_num_seqs)
    return Engine(runner, options), options


def _max_open_requests(settings: ServeSettings) -> int:
    """Live requests that run or wait, and the lines of batches in flight."""
    return settings.max_waiting + settings.max_num_seqs + settings.batch_lines


def _num_blocks(
    settings: ServeSettings, loaded: LoadedModel, attention: AttentionBackend, max_batch_tokens: int
) -> int:
    """Number of KV cache blocks that fit beside the largest step."""
    size = CacheSize(settings.block_size, settings.num_kv_blocks, settings.kv_cache_gib)
    own_bytes = 0
    if loaded.device.type == "cuda":
        max_logits = settings.max_num_seqs + MAX_SCORED_ROWS
        own_bytes = activation_bytes(loaded, attention, max_batch_tokens, max_logits, settings.block_size)
    return choose_num_blocks(loaded, size, own_bytes)
