"""The short form of `make soak`, which does not judge memory."""

import pytest

from tests.system.soak.__main__ import soak, table

KINDS = frozenset({"whole", "streamed", "chatted", "classified", "sampled", "long", "left", "moved", "bad", "changed"})


@pytest.mark.slow
@pytest.mark.timeout(600)  # a slow machine, not a hang
def test_everything_at_once_for_a_while(tmp_path):
    """No wrong answer, no error, nothing left behind; every kind of request was answered."""
    rows = soak(tmp_path, duration_s=5, kinds=KINDS)
    assert all(row.is_kept for row in rows), table(rows)
    kinds = {row.what.removeprefix("answers: ") for row in rows if row.what.startswith("answers: ")}
    assert kinds >= KINDS
