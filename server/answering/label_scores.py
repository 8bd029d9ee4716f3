"""How likely continuations are behind prompts: what classification chooses by and perplexity is made of."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Collection, Sequence

from server.answering.engine_failure import failure_of
from server.engine.client import EngineClient
from server.engine.request import RequestFailed, Scored, ScoreRequest
from server.model.prefix import Prefix
from server.tokenizer.tokenizer import Tokenizer


def end_token_id(tokenizer: Tokenizer, eos_token_ids: Collection[int]) -> int | None:
    """The token that ends an answer: the tokenizer's own, else the first of the model's, else none."""
    return tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(eos_token_ids, default=None)


async def score_prompts(
    engine: EngineClient,
    task: str,
    prefix: Prefix | None,
    prompts: Sequence[tuple[int, ...]],
    continuations: tuple[tuple[int, ...], ...],
    *,
    salt: bytes = b"",
    priority: int = 0,
) -> list[Scored]:
    """Score the continuations behind every prompt, all at once.

    Raises `EngineError`. When one prompt fails, or the caller is cancelled, none goes on running.
    """
    each = await score_prompts_by_each(engine, task, (prefix,), prompts, continuations, salt=salt, priority=priority)
    return [scored for (scored,) in each]


async def score_prompts_by_each(
    engine: EngineClient,
    task: str,
    prefixes: Sequence[Prefix | None],
    prompts: Sequence[tuple[int, ...]],
    continuations: tuple[tuple[int, ...], ...],
    *,
    salt: bytes = b"",
    priority: int = 0,
) -> list[list[Scored]]:
    """As `score_prompts`, for each prompt by each prefix: the members of an ensemble."""
    scoring = [
        asyncio.create_task(score(engine, task, prefix, prompt, continuations, salt=salt, priority=priority))
        for prompt, prefix in itertools.product(prompts, prefixes)
    ]
    try:
        scored = await asyncio.gather(*scoring)
    finally:
        for each in scoring:
            each.cancel()
    return [scored[first : first + len(prefixes)] for first in range(0, len(scored), len(prefixes))]


async def score(
    engine: EngineClient,
    task: str,
    prefix: Prefix | None,
    prompt: tuple[int, ...],
    continuations: tuple[tuple[int, ...], ...],
    *,
    salt: bytes = b"",
    priority: int = 0,
) -> Scored:
    """Score the continuations of one prompt. Raises `EngineError`."""
    request = ScoreRequest(f"score-{uuid.uuid4().hex}", task, prompt, continuations, prefix, salt, priority)
    scored: Scored | None = None
    async for event in engine.stream(request):
        match event:
            case Scored():
                scored = event
            case RequestFailed():
                raise failure_of(event)
    assert scored is not None, "a score request ends with its scores or its failure"
    return scored
