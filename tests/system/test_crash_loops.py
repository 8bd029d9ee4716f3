"""A job that ends its servers has three of them at most; `make tuning-test` also kills them, and prints figures."""

from __future__ import annotations

import pytest

from server.cli.serving.watchdog import EXIT_WEDGED
from tests.system.crash_loops import outlasting


@pytest.mark.slow
def test_the_third_server_is_the_last_that_a_job_ends(tmp_path):
    """By the watchdog; the fourth server says why, and stays up."""
    found = outlasting(tmp_path)
    assert [life.status for life in found.lives] == [EXIT_WEDGED] * 3
    assert (found.status, found.code) == ("failed", "server_stopped")
    assert "--engine-timeout-s" in found.message
    assert found.stayed_up
