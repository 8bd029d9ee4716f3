"""Log-probabilities of continuations behind prompts, for classification and perplexity."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Collection, Sequence

from server.answering.engine_failure import failure_of
from server.engine.client import RequestRunner
from server.engine.events import RequestFailed, Scored
from server.engine.request import Request, Score
from server.model.prefix import Prefix
from server.tokenizer.tokenizer import Tokenizer


def end_token_id(tokenizer: Tokenizer, eos_token_ids: Collection[int]) -> int | None:
    """The token that ends an answer: the tokenizer's own, else the first of the model's, else none."""
    return tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(eos_token_ids, default=None)


def score_requests(
    task: str,
    prefixes: Sequence[Prefix | None],
    prompts: Sequence[tuple[int, ...]],
    continuations: tuple[tuple[int, ...], ...],
    *,
    salt: bytes = b"",
    priority: int = 0,
) -> list[Request[Score]]:
    """Requests that score the continuations: one per prompt and prefix, prompt by prompt."""
    return [
        Request(f"score-{uuid.uuid4().hex}", task, prompt, Score(continuations), prefix, salt, priority)
        for prompt, prefix in itertools.product(prompts, prefixes)
    ]


async def score_all(engine: RequestRunner, requests: Sequence[Request[Score]]) -> list[Scored]:
    """The scores of requests that run together.

    Raises `EngineError`. If one request fails, or the caller is cancelled, all are ended.
    """
    scoring = Scoring(engine, requests)
    try:
        return [scored async for scored in scoring]
    finally:
        scoring.close()


class Scoring:
    """Score requests that run together, with the interface of `Generation`.

    Iterating yields their scores in order, once all are complete. `close` ends the requests that still run.
    """

    num_output_tokens = 0

    def __init__(self, engine: RequestRunner, requests: Sequence[Request[Score]]) -> None:
        self._running = [asyncio.create_task(score(engine, request)) for request in requests]

    async def __aiter__(self) -> AsyncIterator[Scored]:
        """Every request's scores. Raises `EngineError` when one fails."""
        for scored in await asyncio.gather(*self._running):
            yield scored

    def close(self) -> None:
        """End the requests that still run."""
        for each in self._running:
            each.cancel()


async def score(engine: RequestRunner, request: Request[Score]) -> Scored:
    """The scores of one request. Raises `EngineError`."""
    scored: Scored | None = None
    async for event in engine.stream(request):
        match event:
            case Scored():
                scored = event
            case RequestFailed():
                raise failure_of(event)
    assert scored is not None, "a score request ends with its scores or its failure"
    return scored
