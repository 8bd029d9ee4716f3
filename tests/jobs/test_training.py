"""How often a run is saved."""

from __future__ import annotations

import pytest

from server.jobs.training import pause_after


@pytest.mark.parametrize(
    ("took_s", "interval_s", "pause_s"),
    [(0.1, 30.0, 30.0), (1.5, 30.0, 30.0), (12.0, 30.0, 240.0), (300.0, 30.0, 600.0), (5.0, 0.0, 0.0)],
)
def test_a_state_that_takes_long_to_save_is_saved_more_rarely(took_s, interval_s, pause_s):
    """It holds the database's write lock meanwhile, which every other write needs."""
    assert pause_after(took_s, interval_s) == pytest.approx(pause_s)
