"""Scores against numbers worked out by hand."""

from __future__ import annotations

import pytest

from server.tuning.scores import accuracy, macro_f1


def test_accuracy_is_to_the_letter():
    """Case counts."""
    assert accuracy(["a", "b", "c", "d"], ["a", "B", "c", "x"]) == 0.5


def test_macro_f1_by_hand():
    """Labels a, b, c: F1 of 2/3, 2/3 and 0."""
    assert macro_f1(["a", "a", "b", "c"], ["a", "b", "b", "a"]) == pytest.approx((0.5 + 2 / 3 + 0) / 3)
