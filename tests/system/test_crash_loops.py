"""A job that ends its servers has three of them at most; `make tuning-test` prints how long each lived."""

from __future__ import annotations

import pytest

from server.cli.serving.watchdog import EXIT_WEDGED
from tests.system.crash_loops import SCENARIOS, outlasting


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_third_server_is_the_last_that_a_job_ends(scenario, tmp_path):
    """By the watchdog, or by a kill while it learns or is evaluated; the fourth server says why, and stays up."""
    found = scenario(tmp_path)
    assert [life.status for life in found.lives] == [EXIT_WEDGED if scenario is outlasting else -9] * 3
    assert (found.status, found.code) == ("failed", "server_stopped")
    assert "--engine-timeout-s" in found.message
    assert found.stayed_up
