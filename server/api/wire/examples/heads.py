"""Examples of what tasks with heads are asked and answer, by the names that a reader chooses from."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from server.api.wire.classify import (
    Classification,
    ClassifyRequest,
    ClassifyResult,
    FoundAnswer,
    LabelledToken,
    LabelProbability,
    Question,
    QuestionAnswers,
    Regression,
    TokenClassification,
)
from server.api.wire.embeddings import Embedding, EmbeddingsRequest
from server.api.wire.examples.inference import CLASSIFY_REQUEST, CLASSIFY_RESULT, EMBEDDINGS, EMBEDDINGS_REQUEST

_SENTENCE = "Ada lives in Paris"
_NAMES, _STARS, _QUESTIONS, _REVIEWS = "names", "stars", "questions", "reviews"
_LABELLED = (("Ada", 0, "PER", 0.97), ("lives", 4, "O", 0.99), ("in", 10, "O", 0.98), ("Paris", 13, "LOC", 0.95))


def _result(model: str, item: Classification | Regression | TokenClassification | QuestionAnswers) -> ClassifyResult:
    return CLASSIFY_RESULT.model_copy(update={"model": model, "data": [item]})


ALTERNATIVES: Mapping[str, Mapping[str, BaseModel]] = {
    "ClassifyRequest": {
        "texts": CLASSIFY_REQUEST,
        "labels of tokens (TOKEN_CLS)": ClassifyRequest(model=_NAMES, input=_SENTENCE),
        "a question (QUESTION_ANS)": ClassifyRequest(
            model=_QUESTIONS, input=Question(question="Where does Ada live?", context=_SENTENCE), top_k=1
        ),
    },
    "ClassifyResult": {
        "labels": CLASSIFY_RESULT,
        "labels that do not exclude each other (SEQ_CLS)": _result(
            "tags",
            Classification(
                index=0,
                label="food",
                probabilities=[
                    LabelProbability(label="food", probability=0.9, logprob=-0.1054),
                    LabelProbability(label="service", probability=0.6, logprob=-0.5108),
                ],
            ),
        ),
        "numbers (SEQ_CLS)": _result(_STARS, Regression(index=0, values=[4.2])),
        "labels of tokens (TOKEN_CLS)": _result(
            _NAMES,
            TokenClassification(
                index=0,
                tokens=[
                    LabelledToken(start=start, end=start + len(text), text=text, label=label, score=score)
                    for text, start, label, score in _LABELLED
                ],
            ),
        ),
        "answers (QUESTION_ANS)": _result(
            _QUESTIONS, QuestionAnswers(index=0, answers=[FoundAnswer(text="Paris", start=13, end=18, score=0.91)])
        ),
    },
    "EmbeddingsRequest": {
        "texts": EMBEDDINGS_REQUEST,
        "token ids": EmbeddingsRequest(model=_REVIEWS, input=[[1883, 368, 802], [262, 200]]),
        "base64": EmbeddingsRequest(model=_REVIEWS, input=_SENTENCE, encoding_format="base64"),
    },
    "EmbeddingList": {
        "numbers": EMBEDDINGS,
        "base64": EMBEDDINGS.model_copy(
            update={"data": [Embedding(object="embedding", index=0, embedding="nKLDPrpJHL8u/2E+eVgoPw==")]}
        ),
    },
}
"""By the schema of the body, then by their own names."""
