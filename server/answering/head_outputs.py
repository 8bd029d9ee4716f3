"""The numbers of a head become probabilities, and spans of a text."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts_store.manifest import ProblemType

Values = NDArray[np.float32]


def label_logprobs(values: Values, problem_type: ProblemType) -> list[float]:
    """Natural log-probability of each label, of its logits `[num_labels]`.

    Of a multi-label classifier each label has a probability of its own (sigmoid); else they sum to 1 (softmax).
    """
    logits = values.astype(np.float64)
    if problem_type is ProblemType.MULTI_LABEL:
        logprobs = -np.logaddexp(0.0, -logits)
    else:
        logprobs = logits - np.logaddexp.reduce(logits)
    return [float(logprob) for logprob in logprobs]


def head_labels(num_labels: int, of_version: Sequence[str], of_base: Sequence[str]) -> tuple[str, ...]:
    """The labels of a head: the version's, else the base model's if it has as many, else placeholders."""
    for labels in (of_version, of_base):
        if len(labels) == num_labels:
            return tuple(labels)
    return tuple(f"LABEL_{number}" for number in range(num_labels))


def head_problem_type(num_labels: int, of_version: ProblemType | None, of_base: ProblemType | None) -> ProblemType:
    """What the outputs of a classifier are. As in transformers, a single one is a number unless it is said."""
    named = of_version or of_base
    if named is not None and not (named is ProblemType.SINGLE_LABEL and num_labels == 1):
        return ProblemType(named)
    return ProblemType.REGRESSION if num_labels == 1 else ProblemType.SINGLE_LABEL


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Tokens `first` to `last`, both included, and the probability that the answer begins and ends there."""

    score: float
    first: int
    last: int


def answer_spans(
    values: Values, allowed: Sequence[bool], weighed: Sequence[bool], *, top_k: int, max_tokens: int
) -> list[Span]:
    """The most likely answers among tokens, best first, of logits `[num_tokens, 2]` of their beginning and end.

    As in transformers' pipeline for question answering: both are a softmax over the `weighed` tokens, a span begins and
    ends at an `allowed` one, and its score is the product. Spans have at most `max_tokens` tokens.
    """
    if not any(allowed):
        return []
    begin, end = (_softmax(values[:, side], np.array(weighed)) * np.array(allowed) for side in (0, 1))
    best: list[Span] = []
    for length in range(min(max_tokens, len(begin))):
        scores = begin[: len(begin) - length] * end[length:]
        for first in np.argsort(-scores, kind="stable")[:top_k].tolist():
            if allowed[first] and allowed[first + length]:
                best.append(Span(float(scores[first]), first, first + length))
        best = heapq.nlargest(top_k, best, key=lambda span: span.score)
    return best


def _softmax(logits: Values, weighed: NDArray[np.bool_]) -> NDArray[np.float64]:
    masked = np.where(weighed, logits.astype(np.float64), -np.inf)
    weights = np.exp(masked - masked.max())
    softmax: NDArray[np.float64] = weights / weights.sum()
    return softmax
