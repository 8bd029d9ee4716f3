"""Progress of loading where there is no terminal: few lines, and none of what is quick."""

from __future__ import annotations

import logging

import pytest

from server.model.loading import progress
from server.model.loading.progress import LOG_INTERVAL_S, LoggedProgress, showing_progress


@pytest.fixture
def clock():
    """A clock that the test moves."""
    now = [0.0]

    def read():
        return now[0]

    read.move = lambda seconds: now.__setitem__(0, now[0] + seconds)
    return read


def test_a_line_says_how_much_is_done_every_few_seconds(clock, caplog):
    """At most one per interval, and none at the end: what comes next says that it is done."""
    caplog.set_level(logging.INFO)
    advance = LoggedProgress("loading weights", 4_400_000_000, clock)
    for _ in range(10):
        clock.move(LOG_INTERVAL_S / 2)
        advance(440_000_000)
    assert [record.getMessage() for record in caplog.records] == [
        f"loading weights: {share} % of 4.4 GB" for share in (20, 40, 60, 80)
    ]


def test_a_quick_step_says_nothing(clock, caplog):
    """A small model."""
    caplog.set_level(logging.INFO)
    advance = LoggedProgress("loading weights", 100, clock)
    clock.move(LOG_INTERVAL_S / 2)
    advance(50)
    assert not caplog.records


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    """Of which a quick step shows nothing either; without a terminal there is none."""
    monkeypatch.setattr(progress, "is_progress_bar_enabled", lambda: True)
    with showing_progress("loading weights", 100) as advance:
        assert not isinstance(advance, LoggedProgress)
        advance(100)
    monkeypatch.setattr(progress, "is_progress_bar_enabled", lambda: False)
    with showing_progress("loading weights", 100) as advance:
        assert isinstance(advance, LoggedProgress)
    assert "loading weights" not in capsys.readouterr().err
