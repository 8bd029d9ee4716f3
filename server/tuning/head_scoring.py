"""Scores of a version with a head, one example at a time: the labels' probabilities, as in `/v1/classify`."""

from __future__ import annotations

import asyncio
import math
import uuid

from prompts_store.manifest import ProblemType
from server.answering.engine_failure import failure_of
from server.answering.head_outputs import Values, head_labels, head_problem_type, label_logprobs
from server.answering.votes import log_mean
from server.engine.client import RequestRunner
from server.engine.events import Encoded, RequestFailed
from server.engine.request import Encode, Request
from server.model.heads.head import Head
from server.model.prefix import Prefix
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.candidate import Candidate
from server.tuning.encoding import encode_prompt
from server.tuning.errors import EvaluationFailed
from server.tuning.example_line import Example
from server.tuning.scores import ScoredExample


class HeadScorer:
    """Scores one example after another with the engine. An ensemble has the mean of its members' probabilities."""

    def __init__(self, engine: RequestRunner, tokenizer: Tokenizer, candidate: Candidate) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._candidate = candidate

    async def answer(self, example: Example) -> ScoredExample:
        """Score one example. Raises `EngineError`, `ExamplesRefused`, and `EvaluationFailed` for a head of numbers."""
        candidate = self._candidate
        prompt = encode_prompt(self._tokenizer, candidate.manifest, example)
        parts = zip(candidate.prefixes, candidate.heads, strict=True)
        running = [asyncio.create_task(self._outputs(prompt, prefix, head)) for prefix, head in parts]
        try:
            of_members = await asyncio.gather(*running)
        finally:
            for each in running:
                each.cancel()
        num_labels = len(of_members[0])
        problem_type = head_problem_type(num_labels, candidate.manifest.problem_type, candidate.base_problem_type)
        if problem_type is ProblemType.REGRESSION:
            message = f"{candidate.name} answers with numbers, and examples name labels"
            raise EvaluationFailed(message, code="request_refused")
        by_member = [label_logprobs(outputs, problem_type) for outputs in of_members]
        logprobs = [log_mean(of_label) for of_label in zip(*by_member, strict=True)]
        labels = head_labels(num_labels, candidate.manifest.labels, candidate.base_labels)
        label = labels[logprobs.index(max(logprobs))]
        expected = dict(zip(labels, logprobs, strict=True)).get(example.completion, -math.inf)
        return ScoredExample(label == example.completion, label, expected, 1)

    async def _outputs(self, prompt: tuple[int, ...], prefix: Prefix | None, head: Head) -> Values:
        """The head's outputs, one per label."""
        request = Request(f"evaluate-{uuid.uuid4().hex}", self._candidate.task, prompt, Encode(head), prefix)
        outputs: Values | None = None
        async for event in self._engine.stream(request):
            match event:
                case Encoded():
                    outputs = event.values[0]
                case RequestFailed():
                    raise failure_of(event)
        assert outputs is not None, "an encode request ends with its values or its failure"
        return outputs
