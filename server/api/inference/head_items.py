"""The entry of one input in a classification by a head: labels, numbers, labelled tokens, or found answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prompts_store.manifest import ProblemType
from server.answering.head_outputs import Span, Values, answer_spans, label_logprobs
from server.answering.votes import log_mean
from server.api.inference.base_facts import BaseFacts
from server.api.inference.served_model import ServedModel
from server.api.wire.classify import (
    Classification,
    FoundAnswer,
    LabelledToken,
    LabelProbability,
    QuestionAnswers,
    Regression,
    TokenClassification,
)
from server.tokenizer.tokenizer import MarkedTokens


class ClassItems:
    """Labels with probabilities, or numbers (SEQ_CLS). Those of an ensemble are the mean over its members."""

    def __init__(self, base: BaseFacts, served: ServedModel) -> None:
        self._base = base
        self._served = served

    def item(self, index: int, values: Sequence[Values]) -> Classification | Regression:
        """See `ItemWriter`; each of `values` is `[1, num_labels]`."""
        num_labels = values[0].shape[1]
        problem_type = self._base.problem_type_of(self._served, num_labels)
        if problem_type is ProblemType.REGRESSION:
            return Regression(index=index, values=np.mean([each[0] for each in values], axis=0).tolist())
        by_member = [label_logprobs(each[0], problem_type) for each in values]
        logprobs = [log_mean(of_label) for of_label in zip(*by_member, strict=True)]
        labels = self._base.labels_of(self._served, num_labels)
        return Classification(
            index=index,
            label=labels[logprobs.index(max(logprobs))],
            probabilities=[
                LabelProbability(label=label, probability=math.exp(logprob), logprob=logprob)
                for label, logprob in zip(labels, logprobs, strict=True)
            ],
        )


class TokenItems:
    """A label for each token of a text (TOKEN_CLS)."""

    def __init__(
        self, base: BaseFacts, served: ServedModel, texts: Sequence[str], marked: Sequence[MarkedTokens]
    ) -> None:
        self._base = base
        self._served = served
        self._texts = texts
        self._marked = marked

    def item(self, index: int, values: Sequence[Values]) -> TokenClassification:
        """See `ItemWriter`; the only one of `values` is `[num_tokens, num_labels]`."""
        (logits,) = values
        labels = self._base.labels_of(self._served, logits.shape[1])
        text, marked = self._texts[index], self._marked[index]
        tokens = []
        for row, (start, end), of_text in zip(logits, marked.offsets, marked.texts, strict=True):
            if of_text is None:  # a special token, which is no part of the text
                continue
            best = int(row.argmax())
            score = math.exp(label_logprobs(row, ProblemType.SINGLE_LABEL)[best])
            tokens.append(LabelledToken(start=start, end=end, text=text[start:end], label=labels[best], score=score))
        return TokenClassification(index=index, tokens=tokens)


class SpanItems:
    """The parts of a context that answer a question best (QUESTION_ANS)."""

    def __init__(
        self,
        contexts: Sequence[str],
        marked: Sequence[MarkedTokens],
        context_at: int,
        cls_token_id: int | None,
        *,
        top_k: int,
        max_tokens: int,
    ) -> None:
        self._contexts = contexts
        self._marked = marked
        self._context_at = context_at
        self._cls_token_id = cls_token_id
        self._top_k = top_k
        self._max_tokens = max_tokens

    def item(self, index: int, values: Sequence[Values]) -> QuestionAnswers:
        """See `ItemWriter`; the only one of `values` is `[num_tokens, 2]`."""
        (logits,) = values
        marked, context = self._marked[index], self._contexts[index]
        allowed = [text == self._context_at for text in marked.texts]
        # The token of the whole text takes the weight of "there is no answer", as in transformers' pipeline.
        weighed = [
            is_allowed or token_id == self._cls_token_id
            for is_allowed, token_id in zip(allowed, marked.ids, strict=True)
        ]
        spans = answer_spans(logits, allowed, weighed, top_k=self._top_k, max_tokens=self._max_tokens)
        return QuestionAnswers(index=index, answers=[_answer(span, marked, context) for span in spans])


def _answer(span: Span, marked: MarkedTokens, context: str) -> FoundAnswer:
    start, end = marked.offsets[span.first][0], marked.offsets[span.last][1]
    return FoundAnswer(text=context[start:end], start=start, end=end, score=span.score)
