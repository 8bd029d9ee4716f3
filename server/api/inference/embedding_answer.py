"""Hidden states become the body of an answer in OpenAI's form of embeddings."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, Sequence

import numpy as np

from server.answering.head_outputs import Values
from server.api.inference.plan import AnswerEvent
from server.api.inference.usage import UsageCounter
from server.api.wire.embeddings import Embedding, EmbeddingList
from server.engine.events import Encoded


class EmbeddingAnswer:
    """Writes the vectors of all inputs. `is_normalized` gives each the length 1."""

    def __init__(
        self,
        model: str,
        prompts: Sequence[Sequence[int]],
        prefix_lengths: Sequence[int],
        *,
        is_normalized: bool,
        as_base64: bool,
    ) -> None:
        self._model = model
        self._is_normalized = is_normalized
        self._as_base64 = as_base64
        self._usage = UsageCounter(prompts, prefix_lengths)

    async def body(self, events: AsyncIterable[AnswerEvent]) -> EmbeddingList:
        """One vector per input."""
        vectors: list[Values] = []
        async for event in events:
            self._usage.add(event)
            if isinstance(event, Encoded):
                vectors.append(self._scaled(event.values[0]))
        return EmbeddingList(
            object="list",
            data=[
                Embedding(object="embedding", index=index, embedding=self._written(vector))
                for index, vector in enumerate(vectors)
            ],
            model=self._model,
            usage=self._usage.usage(),
        )

    def texts(self, body: EmbeddingList) -> tuple[str, ...]:
        """The vectors, rounded: equal ones of a shadow agree."""
        return tuple(map(_compared, body.data))

    def _scaled(self, vector: Values) -> Values:
        length = float(np.linalg.norm(vector.astype(np.float64)))
        return (vector / length).astype(np.float32) if self._is_normalized and length else vector

    def _written(self, vector: Values) -> list[float] | str:
        little_endian = vector.astype("<f4")
        return base64.b64encode(little_endian.tobytes()).decode() if self._as_base64 else little_endian.tolist()


def _compared(item: Embedding) -> str:
    written = item.embedding
    vector = np.frombuffer(base64.b64decode(written), "<f4") if isinstance(written, str) else np.array(written)
    return " ".join(f"{value:.2g}" for value in vector.tolist())
