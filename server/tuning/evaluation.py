"""Evaluation of a version through the path that serves it: an `EngineClient`, its template and its tokenizer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from server.engine.client import RequestRunner
from server.engine.errors import (
    EngineError,
    EngineOverloaded,
    EngineStopped,
    NumbersOverflow,
    RequestRefused,
    StepFailed,
)
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.candidate import Candidate
from server.tuning.encoding import longest_answer
from server.tuning.errors import EvaluationFailed
from server.tuning.example_line import Example
from server.tuning.head_scoring import HeadScorer
from server.tuning.scores import ScoredExample, Scores, accuracy, macro_f1
from server.tuning.text_scoring import TextScorer

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """Number of failures and refusals per example after which the candidate cannot be scored, and the pause after each.

    A failed step may be the fault of another request, and a full queue does not depend on the candidate.
    """

    max_failures: int = 3
    max_refusals: int = 60
    pause_s: float = 2.0


async def evaluate(
    engine: RequestRunner,
    tokenizer: Tokenizer,
    candidate: Candidate,
    examples: Sequence[Example],
    *,
    end_token_id: int | None,
    labels: Sequence[str] = (),
    has_encoder: bool = False,
    max_at_once: int = 16,
    patience: Patience = Patience(),
    on_progress: Callable[[int], object] = lambda num_done: None,
) -> Scores:
    """Score a candidate on one example or more, `max_at_once` at a time.

    With `has_encoder`, the base model is an encoder-decoder: an answer has the decoder's positions to itself.

    Answers are always greedy, so that a score can be repeated; the version's other defaults and its stop strings apply.
    An example on which the engine fails, or for which its queue is full, is repeated as `patience` says. `on_progress`
    gets the number of examples done, also before a repeat; its errors are raised here.
    Raises `EvaluationFailed`, `ExamplesRefused` for what the base model cannot take, and `EngineStopped`.
    """
    scorer = _scorer(engine, tokenizer, candidate, examples, end_token_id, tuple(labels), has_encoder=has_encoder)
    asks = [partial(scorer.answer, example) for example in examples]
    answers = await ask_all(asks, candidate.name, max_at_once=max_at_once, patience=patience, on_progress=on_progress)
    return _scores(candidate.name, examples, answers, labels)


async def ask_all(
    asks: Sequence[Callable[[], Awaitable[_Answer]]],
    name: str,
    *,
    max_at_once: int = 16,
    patience: Patience = Patience(),
    on_progress: Callable[[int], object] = lambda num_done: None,
) -> list[_Answer]:
    """Ask the engine, `max_at_once` at a time, and repeat as `patience` says. `name` is who answers, for errors.

    `on_progress` is that of `evaluate`. Raises `EvaluationFailed`, `EngineStopped`, and what an ask raises.
    """
    turns = asyncio.Semaphore(max_at_once)
    num_done = 0

    async def take(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        nonlocal num_done
        async with turns:
            answer = await _patiently(ask, patience, lambda: on_progress(num_done))
        num_done += 1
        on_progress(num_done)
        return answer

    try:
        return await _gather([take(ask) for ask in asks])
    except EngineStopped:
        raise
    except EngineError as error:
        raise _failure(name, error) from error


class _Scorer(Protocol):
    async def answer(self, example: Example) -> ScoredExample: ...


def _scorer(
    engine: RequestRunner,
    tokenizer: Tokenizer,
    candidate: Candidate,
    examples: Sequence[Example],
    end_token_id: int | None,
    labels: tuple[str, ...],
    *,
    has_encoder: bool,
) -> _Scorer:
    if candidate.heads:
        return HeadScorer(engine, tokenizer, candidate)
    if end_token_id is None:
        raise EvaluationFailed(f"{candidate.name} answers with no text, and has no head", code="request_refused")
    longest = longest_answer(tokenizer, examples)
    return TextScorer(engine, tokenizer, candidate, end_token_id, labels, longest, has_encoder=has_encoder)


async def _gather(answers: Sequence[Coroutine[Any, Any, _Answer]]) -> list[_Answer]:
    """Await all of them at once. No task outlives the call."""
    running = [asyncio.create_task(answer) for answer in answers]
    try:
        return await asyncio.gather(*running)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _patiently(
    answer: Callable[[], Awaitable[_Answer]], patience: Patience, on_retry: Callable[[], object]
) -> _Answer:
    """Repeat until there is an answer. Raises an error of the prompt itself, and one that is repeated too often."""
    num_failures = num_refusals = 0
    while True:
        try:
            return await answer()
        except StepFailed:
            num_failures += 1
            if num_failures == patience.max_failures:
                raise
        except EngineOverloaded:
            num_refusals += 1
            if num_refusals == patience.max_refusals:
                raise
        on_retry()
        await asyncio.sleep(patience.pause_s)


def _failure(name: str, error: EngineError) -> EvaluationFailed:
    match error:
        case EngineOverloaded():
            return EvaluationFailed(f"the server was too busy to evaluate {name}", code="engine_overloaded")
        case NumbersOverflow():
            return EvaluationFailed(f"{name}: {error}", code="numbers_overflow")
        case RequestRefused():
            return EvaluationFailed(f"{name} cannot be served: {error}", code="request_refused")
    return EvaluationFailed(f"the engine failed while {name} was evaluated", code="engine_failed")


def _scores(name: str, examples: Sequence[Example], answers: Sequence[ScoredExample], labels: Sequence[str]) -> Scores:
    expected = [example.completion for example in examples]
    chosen = [answer.label for answer in answers if answer.label is not None]
    total = sum(answer.logprob for answer in answers)
    num_tokens = sum(answer.num_tokens for answer in answers)
    return Scores(
        name=name,
        num_examples=len(examples),
        exact_match=sum(answer.is_exact for answer in answers) / len(answers),
        label_accuracy=accuracy(expected, chosen) if labels else None,
        macro_f1=macro_f1(expected, chosen) if labels else None,
        perplexity=math.exp(min(700.0, -total / num_tokens)),
    )
