"""How well answers were given, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scores:
    """How a candidate did on `num_examples` examples.

    `exact_match` is the share of greedy answers equal to the expected text, to the letter (where answers go on with the
    prompt, also as the expected tokens read there). `label_accuracy` and
    `macro_f1` are of the label that is the most likely whole answer, as `/v1/classify` says; None without labels.
    `perplexity` is that of the expected answers, end token included, per token.
    """

    name: str
    num_examples: int
    exact_match: float
    label_accuracy: float | None
    macro_f1: float | None
    perplexity: float


@dataclass(frozen=True, slots=True)
class Unscored:
    """A candidate of which no scores could be had, and why, in words for a person."""

    name: str
    reason: str


def accuracy(expected: Sequence[str], found: Sequence[str]) -> float:
    """The share of answers that are equal to the expected ones."""
    return sum(one == other for one, other in zip(expected, found, strict=True)) / len(expected)


def macro_f1(expected: Sequence[str], found: Sequence[str]) -> float:
    """The mean of the labels' F1, over the labels that occur in either: each counts alike, however rare."""
    scores = []
    for label in {*expected, *found}:
        num_right = sum(one == other == label for one, other in zip(expected, found, strict=True))
        scores.append(2 * num_right / (expected.count(label) + found.count(label)))
    return sum(scores) / len(scores)
