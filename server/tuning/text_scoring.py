"""Scores the texts that a task writes: greedy, and by the log-probability of the expected answer."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from server.answering.choice_text import TextDelta
from server.answering.generation import Generation
from server.answering.label_scores import score_all, score_requests
from server.answering.votes import log_mean, mean_probabilities, voted
from server.engine.client import RequestRunner
from server.engine.request import Generate, Request, SamplingParams
from server.model.prefix import Prefix, PrefixKind
from server.tokenizer.detokenizer import text_behind
from server.tokenizer.errors import UnknownToken
from server.tokenizer.template import PromptForm, is_continued
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.candidate import Candidate
from server.tuning.encoding import encode_answer, encode_completion, encode_prompt
from server.tuning.errors import EvaluationFailed
from server.tuning.example_line import Example
from server.tuning.scores import ScoredExample


class TextScorer:
    """Scores one example after another with the engine."""

    def __init__(
        self,
        engine: RequestRunner,
        tokenizer: Tokenizer,
        candidate: Candidate,
        end_token_id: int,
        labels: tuple[str, ...],
        longest: int,
        *,
        has_encoder: bool,
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._candidate = candidate
        self._end_token_id = end_token_id
        self._labels = labels
        self._has_encoder = has_encoder
        try:
            self._label_ids = tuple(encode_completion(tokenizer, label, end_token_id) for label in labels)
        except UnknownToken as error:
            raise EvaluationFailed(f"the labels cannot be scored: {error}", code="request_refused") from error
        defaults = {**candidate.manifest.defaults, "temperature": 0.0, "seed": None}
        defaults["max_tokens"] = defaults.get("max_tokens", longest)
        defaults["stop_token_ids"] = frozenset(defaults.get("stop_token_ids", ()))
        self._sampling = SamplingParams(**defaults)

    async def answer(self, example: Example) -> ScoredExample:
        """Score one example. Raises `EngineError`, and `ExamplesRefused` for what the base model cannot take."""
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
        return ScoredExample(is_exact, label, of_expected, len(expected))

    def _is_continued(self, example: Example) -> bool:
        form = PromptForm.TEXT if isinstance(example.prompt, str) else PromptForm.CHAT
        return not self._has_encoder and is_continued(form, has_prompt_form=self._candidate.manifest.has_prompt_form)

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

    def _num_before(self, prefix: Prefix | None) -> int:
        """Virtual tokens in the context that an answer is in. Behind an encoder, only keys and values are there."""
        if prefix is None or (self._has_encoder and prefix.kind is not PrefixKind.KEY_VALUES):
            return 0
        return prefix.num_virtual_tokens

    async def _generate(self, prompt: tuple[int, ...], *, is_continued: bool) -> str:
        candidate = self._candidate
        room = self._engine.max_context - max(map(self._num_before, candidate.prefixes))
        room -= 1 if self._has_encoder else len(prompt)
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
