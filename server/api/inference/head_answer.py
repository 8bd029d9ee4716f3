"""Numbers of heads become the body of a classification."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, Sequence
from typing import Protocol

from server.answering.head_outputs import Values
from server.api.inference.classify_answer import compared_texts
from server.api.inference.plan import AnswerEvent
from server.api.inference.usage import UsageCounter
from server.api.wire.classify import (
    Classification,
    ClassifyResult,
    QuestionAnswers,
    Regression,
    TokenClassification,
)
from server.engine.events import Encoded

Item = Classification | Regression | TokenClassification | QuestionAnswers


class ItemWriter(Protocol):
    """Writes the entry of one input."""

    def item(self, index: int, values: Sequence[Values]) -> Item:
        """The entry of an input, of the numbers that each part's head gave."""


class HeadAnswer:
    """Writes one classification. `prompts` are token ids, `prefix_lengths` are in virtual tokens, one per part."""

    def __init__(
        self, model: str, items: ItemWriter, prompts: Sequence[Sequence[int]], prefix_lengths: Sequence[int]
    ) -> None:
        self._model = model
        self._items = items
        self._num_parts = len(prefix_lengths)
        self._usage = UsageCounter(prompts, prefix_lengths)

    async def body(self, events: AsyncIterable[AnswerEvent]) -> ClassifyResult:
        """The entries of every input."""
        values: list[Values] = []
        async for event in events:
            self._usage.add(event)
            if isinstance(event, Encoded):
                values.append(event.values)
        of_inputs = [values[first : first + self._num_parts] for first in range(0, len(values), self._num_parts)]
        return ClassifyResult(
            id=f"classify-{uuid.uuid4().hex}",
            object="classification",
            created=int(time.time()),
            model=self._model,
            data=[self._items.item(index, by_part) for index, by_part in enumerate(of_inputs)],
            usage=self._usage.usage(),
        )

    def texts(self, body: ClassifyResult) -> tuple[str, ...]:
        """The label, the labels, the best answer or the numbers of each input."""
        return compared_texts(body)
