"""The short form of `make stop-test`: stops under load, and clients that leave in the middle of a stream."""

import pytest

from tests.system.live_server import tiny_base
from tests.system.stopping import cut_off, leave_mid_stream, leaving_server, stop_under_load


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_base(tmp_path_factory.mktemp("base") / "tiny")


def test_a_client_that_leaves_frees_its_blocks_within_two_steps(base, tmp_path):
    with leaving_server(base, tmp_path) as server:
        assert leave_mid_stream(server, 20) <= 2
        stats = server.idle_stats()
        assert stats.num_blocks - stats.num_free_blocks == stats.num_prefix_blocks


def test_a_stop_under_load_drops_no_accepted_request(base):
    outcomes = stop_under_load(base, 1)
    assert outcomes["broken"] == 0


def test_what_takes_longer_than_the_grace_period_is_told_so(base, tmp_path):
    """In the one error body: before an answer has begun as a status, in a stream as its last event."""
    whole, streamed = cut_off(base, tmp_path)
    assert (whole.status_code, whole.json()["error"]["code"]) == (503, "engine_stopped")
    assert '"code":"engine_stopped"' in streamed.splitlines()[-2].replace(" ", "")
    assert "[DONE]" not in streamed
