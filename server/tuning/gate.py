"""Gate of a promotion: the scores that a new version needs to become `production`."""

from __future__ import annotations

from dataclasses import dataclass

from server.tuning.errors import PlanRefused
from server.tuning.scores import Scores, Unscored

METRICS = ("exact_match", "label_accuracy", "macro_f1", "agreement")


@dataclass(frozen=True, slots=True)
class Gate:
    """Conditions of a promotion: at least `min_score` of `metric`, and no less than the version in production."""

    metric: str = "exact_match"
    min_score: float | None = None
    not_worse_than_production: bool = False

    def __post_init__(self) -> None:
        """Raise `PlanRefused`."""
        if self.metric not in METRICS:
            raise PlanRefused(f"is one of {', '.join(METRICS)}", param="gate.metric")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise PlanRefused("is from 0 to 1", param="gate.min_score")
        if self.metric == "agreement" and self.not_worse_than_production:
            message = "compares scores of the serving path, and agreement is the run's own: take exact_match"
            raise PlanRefused(message, param="gate.not_worse_than_production")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the gate passes, and the reason, in words for the alias's history."""

    passed: bool
    reason: str


def judge(gate: Gate, candidate: Scores | Unscored, production: Scores | Unscored | None) -> Verdict:
    """Apply a gate. It does not pass if a score that it needs is missing.

    `production` is None without a version in production, or if the gate compares with none.
    """
    if isinstance(candidate, Unscored):
        return Verdict(False, f"there is no score: {candidate.reason}")
    score = _of(candidate, gate.metric)
    if score is None:
        reason = "only a distillation has one" if gate.metric == "agreement" else "the task has no labels"
        return Verdict(False, f"there is no {gate.metric}: {reason}")
    if gate.min_score is not None and score < gate.min_score:
        return Verdict(False, f"{gate.metric} {score:.3f} is below the required {gate.min_score:.3f}")
    if gate.not_worse_than_production and production is not None:
        return _compare(production, score, gate.metric)
    return Verdict(True, f"{gate.metric} {score:.3f}")


def _compare(production: Scores | Unscored, score: float, metric: str) -> Verdict:
    if isinstance(production, Unscored):
        return Verdict(False, f"there is no score of {production.name} to compare with: {production.reason}")
    rival = _of(production, metric)
    if rival is None:
        return Verdict(False, f"there is no {metric} of {production.name} to compare with")
    if score < rival:
        return Verdict(False, f"{metric} {score:.3f} is below {rival:.3f} of {production.name}")
    return Verdict(True, f"{metric} {score:.3f}, not below {rival:.3f} of {production.name}")


def _of(scores: Scores, metric: str) -> float | None:
    value: float | None = getattr(scores, metric)
    return value
