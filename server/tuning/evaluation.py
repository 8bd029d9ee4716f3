"""Evaluation of a version through the path that serves it: an `EngineClient`, its template and its tokenizer."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from prompts_store.manifest import Manifest
from prompts_store.records import ParsedCheckpoint, VersionContent, VersionRecord
from server.answering.choice_text import TextDelta
from server.answering.generation import Generation
from server.answering.label_scores import score_all, score_requests
from server.answering.votes import log_mean, mean_probabilities, voted
from server.engine.client import RequestRunner
from server.engine.errors import (
    EngineError,
    EngineOverloaded,
    EngineStopped,
    NumbersOverflow,
    RequestRefused,
    StepFailed,
)
from server.engine.request import Generate, Request, SamplingParams
from server.model.prefix import Prefix, prefix_of
from server.tokenizer.detokenizer import text_behind
from server.tokenizer.errors import UnknownToken
from server.tokenizer.template import PLACEHOLDER, PromptForm, is_continued
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import encode_answer, encode_completion, encode_prompt, longest_answer
from server.tuning.errors import EvaluationFailed
from server.tuning.example_line import Example
from server.tuning.scores import Scores, accuracy, macro_f1


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A version (published or not), the base model alone, or the base model with an instruction.

    `name` is for reports (`mood@3`, `base`, `instruction`). `task` is the engine's fairness key. `prefixes` has one
    element, None without a soft prompt; an ensemble has one per member, in its order.
    """

    name: str
    task: str
    prefixes: tuple[Prefix | None, ...]
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Patience:
    """Number of failures and refusals per example after which the candidate cannot be scored, and the pause after each.

    A failed step may be the fault of another request, and a full queue does not depend on the candidate.
    """

    max_failures: int = 3
    max_refusals: int = 60
    pause_s: float = 2.0


@dataclass(frozen=True, slots=True)
class _ScoredExample:
    """Result of one example. `label` is the most likely one, None without labels."""

    is_exact: bool
    label: str | None
    logprob: float
    num_tokens: int


def unpublished(name: str, task: str, checkpoint: ParsedCheckpoint, manifest: Manifest) -> Candidate:
    """A checkpoint that is not published."""
    return Candidate(name, task, (prefix_of(checkpoint.prefix),), manifest)


def published(record: VersionRecord, contents: Sequence[VersionContent]) -> Candidate:
    """A version of the store, or an ensemble. `contents` are those of its members, in their order."""
    prefixes = tuple(prefix_of(content.prefix) for content in contents)
    return Candidate(f"{record.task}@{record.version}", record.task, prefixes, record.manifest)


def base_alone(manifest: Manifest) -> Candidate:
    """The base model without a soft prompt, on the same template."""
    return Candidate("base", "", (None,), manifest)


def with_instruction(manifest: Manifest, instruction: str) -> Candidate:
    """The base model without a soft prompt, with an instruction before the template."""
    template = instruction + (manifest.template or f" {PLACEHOLDER}")
    return Candidate("instruction", "", (None,), replace(manifest, template=template))


async def evaluate(
    engine: RequestRunner,
    tokenizer: Tokenizer,
    candidate: Candidate,
    examples: Sequence[Example],
    *,
    end_token_id: int,
    labels: Sequence[str] = (),
    max_at_once: int = 16,
    patience: Patience = Patience(),
    on_progress: Callable[[int], object] = lambda num_done: None,
) -> Scores:
    """Score a candidate on one example or more, `max_at_once` at a time.

    Answers are always greedy, so that a score can be repeated; the version's other defaults and its stop strings apply.
    An example on which the engine fails, or for which its queue is full, is repeated as `patience` says. `on_progress`
    gets the number of examples done, also before a repeat; its errors are raised here.
    Raises `EvaluationFailed`, `ExamplesRefused` for what the base model cannot take, and `EngineStopped`.
    """
    judge = _ExampleScorer(
        engine, tokenizer, candidate, end_token_id, tuple(labels), longest_answer(tokenizer, examples)
    )
    turns = asyncio.Semaphore(max_at_once)
    num_done = 0

    async def take(example: Example) -> _ScoredExample:
        nonlocal num_done
        async with turns:
            answer = await _patiently(partial(judge.answer, example), patience, lambda: on_progress(num_done))
        num_done += 1
        on_progress(num_done)
        return answer

    try:
        return _scores(candidate.name, examples, await _gather([take(example) for example in examples]), labels)
    except EngineStopped:
        raise
    except EngineError as error:
        raise _failure(candidate.name, error) from error


async def _gather(answers: Sequence[Coroutine[Any, Any, _ScoredExample]]) -> list[_ScoredExample]:
    """Await all of them at once. No task outlives the call."""
    running = [asyncio.create_task(answer) for answer in answers]
    try:
        return await asyncio.gather(*running)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _patiently(
    answer: Callable[[], Awaitable[_ScoredExample]], patience: Patience, on_retry: Callable[[], object]
) -> _ScoredExample:
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


class _ExampleScorer:
    """Scores one example after another with the engine."""

    def __init__(
        self,
        engine: RequestRunner,
        tokenizer: Tokenizer,
        candidate: Candidate,
        end_token_id: int,
        labels: tuple[str, ...],
        longest: int,
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._candidate = candidate
        self._end_token_id = end_token_id
        self._labels = labels
        try:
            self._label_ids = tuple(encode_completion(tokenizer, label, end_token_id) for label in labels)
        except UnknownToken as error:
            raise EvaluationFailed(f"the labels cannot be scored: {error}", code="request_refused") from error
        defaults = {**candidate.manifest.defaults, "temperature": 0.0, "seed": None}
        defaults["max_tokens"] = defaults.get("max_tokens", longest)
        defaults["stop_token_ids"] = frozenset(defaults.get("stop_token_ids", ()))
        self._sampling = SamplingParams(**defaults)

    async def answer(self, example: Example) -> _ScoredExample:
        candidate = self._candidate
        prompt = encode_prompt(self._tokenizer, candidate.manifest, example)
        expected = encode_answer(self._tokenizer, example, self._end_token_id)
        continuations = (expected, *self._label_ids)
        requests = score_requests(candidate.task, candidate.prefixes, [prompt], continuations)
        scored = await score_all(self._engine, requests)
        of_expected = log_mean([member.logprobs[0] for member in scored])
        label = self._chosen([member.logprobs[1:] for member in scored])
        is_continued = self._is_continued(example)
        text = await self._generate(prompt, is_continued=is_continued)
        is_exact = text == example.completion or (is_continued and text == self._behind(prompt, example, expected[:-1]))
        return _ScoredExample(is_exact, label, of_expected, len(expected))

    def _is_continued(self, example: Example) -> bool:
        form = PromptForm.TEXT if isinstance(example.prompt, str) else PromptForm.CHAT
        return is_continued(self._candidate.manifest.template, form)

    def _behind(self, prompt: tuple[int, ...], example: Example, expected: tuple[int, ...]) -> str:
        """The example's answer as its tokens are decoded behind the prompt.

        Such a text may begin with a space that encoding put before the answer. An answer that decoding changes is
        expected to the letter only.
        """
        survives = self._tokenizer.decode(expected) == example.completion
        return text_behind(self._tokenizer, prompt, expected) if survives else example.completion

    def _chosen(self, logprobs: Sequence[Sequence[float]]) -> str | None:
        if not self._labels:
            return None
        probabilities = mean_probabilities(logprobs)
        return self._labels[probabilities.index(max(probabilities))]

    async def _generate(self, prompt: tuple[int, ...], *, is_continued: bool) -> str:
        candidate = self._candidate
        room = self._engine.max_context - len(prompt)
        room -= max(0 if prefix is None else prefix.num_virtual_tokens for prefix in candidate.prefixes)
        sampling = replace(self._sampling, max_tokens=max(1, min(self._sampling.max_tokens, room)))
        requests = [
            Request(f"evaluate-{uuid.uuid4().hex}", candidate.task, prompt, Generate(sampling), prefix)
            for prefix in candidate.prefixes
        ]
        generation = Generation(
            self._engine, self._tokenizer, requests, is_continued=is_continued, stop=candidate.manifest.stop
        )
        generation.start()
        try:
            elected = voted(generation, len(requests))
            return "".join([event.text async for event in elected if isinstance(event, TextDelta)])
        finally:
            generation.close()


def _scores(name: str, examples: Sequence[Example], answers: Sequence[_ScoredExample], labels: Sequence[str]) -> Scores:
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
