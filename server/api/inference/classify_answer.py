"""Scores of labels become a classification: the softmax over each input's labels."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, Sequence

from server.answering.votes import log_mean, mean_probabilities
from server.api.inference.plan import AnswerEvent
from server.api.inference.usage import UsageCounter
from server.api.wire.classify import (
    Classification,
    ClassifyResult,
    LabelProbability,
    QuestionAnswers,
    Regression,
    TokenClassification,
)
from server.engine.events import Scored


class ClassifyAnswer:
    """Writes one classification. `prompts` are token ids, `prefix_lengths` are in virtual tokens, one per prefix."""

    def __init__(
        self,
        model: str,
        labels: Sequence[str],
        prompts: Sequence[Sequence[int]],
        prefix_lengths: Sequence[int],
    ) -> None:
        self._model = model
        self._labels = labels
        self._num_prefixes = len(prefix_lengths)
        self._usage = UsageCounter(prompts, prefix_lengths)

    async def body(self, events: AsyncIterable[AnswerEvent]) -> ClassifyResult:
        """The classification of every input."""
        scored: list[Scored] = []
        async for event in events:
            self._usage.add(event)
            if isinstance(event, Scored):
                scored.append(event)
        of_inputs = [scored[first : first + self._num_prefixes] for first in range(0, len(scored), self._num_prefixes)]
        return ClassifyResult(
            id=f"classify-{uuid.uuid4().hex}",
            object="classification",
            created=int(time.time()),
            model=self._model,
            data=[self._verdict(index, by_prefix) for index, by_prefix in enumerate(of_inputs)],
            usage=self._usage.usage(),
        )

    def texts(self, body: ClassifyResult) -> tuple[str, ...]:
        """The label of each input."""
        return compared_texts(body)

    def _verdict(self, index: int, scored: Sequence[Scored]) -> Classification:
        """The classification of one input. For an ensemble, probabilities are the mean over its members."""
        logprobs = [one.logprobs for one in scored]
        probabilities = mean_probabilities(logprobs)
        rows = zip(self._labels, probabilities, zip(*logprobs, strict=True), strict=True)
        return Classification(
            index=index,
            label=self._labels[probabilities.index(max(probabilities))],
            probabilities=[
                LabelProbability(label=label, probability=probability, logprob=log_mean(of_label))
                for label, probability, of_label in rows
            ],
        )


def compared_texts(body: ClassifyResult) -> tuple[str, ...]:
    """What is compared with a shadow's answer: the label, the numbers, the labels or the best answer of each input."""
    return tuple(map(_compared, body.data))


def _compared(item: Classification | Regression | TokenClassification | QuestionAnswers) -> str:
    match item:
        case Classification():
            return item.label
        case Regression():
            return " ".join(f"{value:.3g}" for value in item.values)
        case TokenClassification():
            return " ".join(token.label for token in item.tokens)
        case QuestionAnswers():
            return item.answers[0].text if item.answers else ""
