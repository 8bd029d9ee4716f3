"""A run's curves: a PNG of any history, without a window and without a display."""

from __future__ import annotations

import sys

import pytest

from server.tuning.errors import PlotsUnavailable
from server.tuning.plot import draw_plot
from tests.tuning.histories import steps, validated

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "history",
    [[], steps([1.0]), [validated(0, 1.0)], [*steps([2.0, 1.0, 0.5]), validated(3, 0.5)]],
    ids=["nothing", "a step", "a validation", "both"],
)
def test_every_history_can_be_drawn(history):
    """A run that ended at once too; a title is text, whatever it holds."""
    assert draw_plot(history, "cost in $ and $").startswith(SIGNATURE)


def test_the_same_history_is_the_same_picture():
    """So that a repeated run can be told from a changed one."""
    history = [*steps([2.0, 1.0]), validated(2, 1.0)]
    assert draw_plot(history, "mood") == draw_plot(history, "mood")
    assert draw_plot(history, "mood") != draw_plot([*history, validated(2, 0.1)], "mood")


def test_pyplot_stays_out():
    """It holds figures for ever, and looks for a display."""
    sys.modules.pop("matplotlib.pyplot", None)
    draw_plot([])
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotsUnavailable, match=r"install softprompt-server\[plots\]"):
        draw_plot([])


def test_whatever_matplotlib_fails_with_there_is_only_no_plot(monkeypatch):
    """Its exceptions are its own; what was learnt does not hang on a picture."""

    def fail(*_, **__):
        raise KeyError("a font")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(PlotsUnavailable, match="matplotlib could not draw it"):
        draw_plot([])
