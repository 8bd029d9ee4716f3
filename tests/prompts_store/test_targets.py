"""Weighted targets: who is answered by which version, and that raising a weight disturbs nobody else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts_store.errors import InvalidTargets
from prompts_store.records import AliasRecord, AliasTarget
from prompts_store.targets import MAX_TARGETS, MAX_WEIGHT, check_targets, choose_target

CALLERS = [f"caller-{number}".encode() for number in range(2_000)]
WEIGHTS = st.lists(st.integers(1, 100), min_size=2, max_size=MAX_TARGETS)


def alias(*weights: int, name: str = "production", task: str = "t") -> AliasRecord:
    """An alias of the versions 1, 2, 3… with these weights."""
    targets = tuple(AliasTarget(number, weight) for number, weight in enumerate(weights, start=1))
    return AliasRecord(task, name, targets, None, "1", datetime.now(UTC), "", "")


@settings(deadline=None)
@given(WEIGHTS, st.data())
def test_raising_one_weight_moves_callers_to_that_version_alone(weights: list[int], data: st.DataObject) -> None:
    raised = data.draw(st.integers(0, len(weights) - 1))
    more = list(weights)
    more[raised] += data.draw(st.integers(1, 1_000))
    for key in CALLERS[:200]:
        before, after = choose_target(alias(*weights), key), choose_target(alias(*more), key)
        assert after in (before, raised + 1)


@settings(deadline=None)
@given(WEIGHTS, st.data())
def test_adding_a_version_moves_callers_to_it_alone(weights: list[int], data: st.DataObject) -> None:
    wider = [*weights, data.draw(st.integers(1, 100))]
    for key in CALLERS[:200]:
        before, after = choose_target(alias(*weights), key), choose_target(alias(*wider), key)
        assert after in (before, len(wider))


@settings(deadline=None)
@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=MAX_TARGETS), st.binary())
def test_a_key_is_always_answered_by_the_same_version(weights: list[int], key: bytes) -> None:
    """The order of the targets, a common factor and later moves play no part."""
    chosen = choose_target(alias(*weights), key)
    shuffled = replace(alias(*weights), targets=tuple(reversed(alias(*weights).targets)), etag="9")
    assert choose_target(shuffled, key) == chosen
    assert choose_target(alias(*(4 * weight for weight in weights)), key) == chosen


@pytest.mark.parametrize("keys", [CALLERS, [None] * len(CALLERS)], ids=["sticky", "random"])
def test_shares_are_those_of_the_weights(keys: list[bytes | None]) -> None:
    counts = Counter(choose_target(alias(70, 20, 10), key) for key in keys)
    shares = [counts[version] / len(keys) for version in (1, 2, 3)]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.05)  # five standard deviations


def test_a_callers_luck_is_new_for_each_alias_and_task() -> None:
    """Who is in the tenth that tries a canary is not in the tenth of every canary."""
    tried = [
        {key for key in CALLERS if choose_target(canary, key) == 2}
        for canary in (alias(90, 10), alias(90, 10, name="canary"), alias(90, 10, task="u"))
    ]
    assert all(len(one & other) < 0.3 * len(one) for one in tried for other in tried if one is not other)


def test_the_choice_is_the_same_in_every_release() -> None:
    """A deployment of replicas of two releases answers a caller with one version."""
    chosen = [choose_target(alias(50, 30, 20), key) for key in CALLERS[:20]]
    assert chosen == [2, 3, 1, 1, 2, 2, 2, 1, 1, 2, 2, 1, 1, 1, 3, 1, 2, 1, 1, 1]


def test_targets_are_sorted_and_a_number_is_one_target() -> None:
    assert check_targets(3) == (AliasTarget(3, 1),)
    assert check_targets([AliasTarget(4, 10), AliasTarget(3, 90)]) == (AliasTarget(3, 90), AliasTarget(4, 10))


@pytest.mark.parametrize(
    "targets",
    [
        [],
        [AliasTarget(version) for version in range(1, MAX_TARGETS + 2)],
        [AliasTarget(1, 0)],
        [AliasTarget(1, -1)],
        [AliasTarget(1, MAX_WEIGHT + 1)],
        [AliasTarget(0)],
        [AliasTarget(2**31)],
        [AliasTarget(1, 1), AliasTarget(1, 2)],
    ],
)
def test_wrong_targets_are_refused(targets: list[AliasTarget]) -> None:
    with pytest.raises(InvalidTargets):
        check_targets(targets)
