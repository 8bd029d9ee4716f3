"""Scores of a version's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a candidate on `num_examples` examples.

    `exact_match` is the share of greedy answers equal to the expected text. If answers continue the prompt's text, the
    expected tokens decoded behind the prompt count as equal too. `label_accuracy` and `macro_f1` compare the label that
    is the most likely whole answer, as in `/v1/classify`; None without labels. `perplexity` is per token of the
    expected answers, end token included. A head answers with a label: its exact match is its label accuracy, and its
    perplexity is per label. `agreement` is that of a distillation's run with its teacher, token by token; else None.
    """

    name: str
    num_examples: int
    exact_match: float
    label_accuracy: float | None
    macro_f1: float | None
    perplexity: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class ScoredExample:
    """Result of one example. `label` is the most likely one, None without labels. `num_tokens` are those of the answer;
    a label of a head counts as one.
    """

    is_exact: bool
    label: str | None
    logprob: float
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Unscored:
    """A candidate that could not be scored, with the reason in words for a person."""

    name: str
    reason: str


def accuracy(expected: Sequence[str], found: Sequence[str]) -> float:
    """Share of answers that are equal to the expected ones."""
    return sum(one == other for one, other in zip(expected, found, strict=True)) / len(expected)


def macro_f1(expected: Sequence[str], found: Sequence[str]) -> float:
    """Mean of the labels' F1, over the labels that occur in either sequence. Each label has the same weight."""
    scores = []
    for label in {*expected, *found}:
        num_right = sum(one == other == label for one, other in zip(expected, found, strict=True))
        scores.append(2 * num_right / (expected.count(label) + found.count(label)))
    return sum(scores) / len(scores)
