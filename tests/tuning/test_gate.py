"""A gate opens for what is good enough, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tuning.errors import PlanRefused
from server.tuning.gate import METRICS, Gate, judge
from server.tuning.scores import Scores, Unscored

SHARES = st.floats(0, 1)


def scores(score: float, name: str = "mood (new)") -> Scores:
    return Scores(name, 10, score, score, score, 1.0, score)


@given(
    st.sampled_from(sorted({*METRICS} - {"agreement"})), st.none() | SHARES, st.booleans(), SHARES, st.none() | SHARES
)  # fmt: skip
def test_it_opens_exactly_where_every_requirement_is_met(metric, min_score, not_worse, mine, theirs):
    """An equal score is enough; where nothing is in production there is nothing to beat."""
    production = None if theirs is None else scores(theirs, "mood@1")
    passed = judge(Gate(metric, min_score, not_worse), scores(mine), production).passed
    is_high_enough = min_score is None or mine >= min_score
    is_no_worse = not not_worse or theirs is None or mine >= theirs
    assert passed == (is_high_enough and is_no_worse)


def test_a_task_without_labels_has_no_label_accuracy_to_pass_with():
    """The gate stays shut rather than guess."""
    verdict = judge(Gate("label_accuracy"), Scores("mood (new)", 10, 1.0, None, None, 1.0), None)
    assert (verdict.passed, verdict.reason) == (False, "there is no label_accuracy: the task has no labels")


def test_agreement_is_of_the_new_version_alone():
    """Only a distillation has it, and the version in production has none to compare with."""
    gate = Gate("agreement", 0.9)
    assert judge(gate, scores(0.95), None).passed
    assert not judge(gate, scores(0.85), None).passed
    without = judge(gate, Scores("mood (new)", 10, 1.0, None, None, 1.0), None)
    assert (without.passed, without.reason) == (False, "there is no agreement: only a distillation has one")
    with pytest.raises(PlanRefused, match="take exact_match"):
        Gate("agreement", not_worse_than_production=True)


@pytest.mark.parametrize(
    ("gate", "mine", "theirs", "reason"),
    [
        (Gate(min_score=0.9), 0.4, None, "exact_match 0.400 is below the required 0.900"),
        (Gate(not_worse_than_production=True), 0.4, 0.5, "exact_match 0.400 is below 0.500 of mood@1"),
        (Gate(not_worse_than_production=True), 0.5, 0.5, "exact_match 0.500, not below 0.500 of mood@1"),
        (Gate(min_score=0.3), 0.4, None, "exact_match 0.400"),
    ],
)
def test_the_reason_is_told_with_the_numbers(gate, mine, theirs, reason):
    """It goes into the alias's history."""
    production = None if theirs is None else scores(theirs, "mood@1")
    assert judge(gate, scores(mine), production).reason == reason


@pytest.mark.parametrize("gate", [Gate(), Gate(min_score=0.0), Gate(not_worse_than_production=True)])
def test_a_gate_that_cannot_be_judged_stays_shut(gate):
    verdict = judge(gate, Unscored("mood (new)", "the engine failed"), scores(0.1, "mood@1"))
    assert (verdict.passed, verdict.reason) == (False, "there is no score: the engine failed")


def test_a_rival_without_scores_is_not_beaten():
    """Nor one without the gate's metric. A gate that does not compare opens all the same."""
    unscored = Unscored("mood@1", "its tensors are damaged")
    without_labels = Scores("mood@1", 10, 0.1, None, None, 1.0)
    verdict = judge(Gate(not_worse_than_production=True), scores(1.0), unscored)
    assert (verdict.passed, verdict.reason) == (
        False, "there is no score of mood@1 to compare with: its tensors are damaged",
    )  # fmt: skip
    assert not judge(Gate("macro_f1", not_worse_than_production=True), scores(1.0), without_labels).passed
    assert judge(Gate(min_score=0.5), scores(1.0), unscored).passed


@pytest.mark.parametrize(
    ("fields", "param"), [({"metric": "perplexity"}, "gate.metric"), ({"min_score": 1.1}, "gate.min_score")]
)
def test_a_gate_that_makes_no_sense_is_refused(fields, param):
    with pytest.raises(PlanRefused) as caught:
        Gate(**fields)
    assert caught.value.param == param
