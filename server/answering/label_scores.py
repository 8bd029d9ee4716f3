"""Log-probabilities of continuations behind prompts, for classification and perplexity."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Collection, Sequence

from server.answering.single_results import SingleResults
from server.engine.client import RequestRunner
from server.engine.events import Scored
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
    scoring = SingleResults(engine, requests, Scored)
    try:
        return [scored async for scored in scoring]
    finally:
        scoring.close()
