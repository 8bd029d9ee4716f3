"""A batch on a whole server that is killed: the small form of `make batch-test`."""

from tests.system.batches import killed


def test_each_line_is_answered_once_across_a_kill(tmp_path):
    """SIGKILL in the middle; the next process of the same data folder goes on behind what was kept."""
    found = killed(tmp_path, num_lines=150, num_kills=1)
    found.check()
    assert found.kept_at_kills[0] > 0
