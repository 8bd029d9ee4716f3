"""Whose step is next: batch requests within their share of the time, and never twice before a live request."""

from itertools import pairwise

import pytest

from server.engine.thread.lanes import LaneTurns


class Clock:
    """Time that steps take."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def turns(share, batch_s, live_s, num_steps, has_live=lambda step: True):
    """Whether each step was the batch lane's, and the time that each lane had."""
    clock = Clock()
    lanes = LaneTurns(share, clock)
    order, spent = [], {True: 0.0, False: 0.0}
    for step in range(num_steps):
        is_batch = lanes.begin(has_live=has_live(step), has_batch=True)
        clock.now += batch_s if is_batch else live_s
        spent[is_batch] += batch_s if is_batch else live_s
        lanes.end()
        order.append(is_batch)
    return order, spent


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("batch_s", [0.002, 0.01, 0.3])
def test_batches_get_their_share_and_no_more(share, batch_s):
    """However long their steps are; never two of them in a row, so short ones get less."""
    order, spent = turns(share, batch_s, 0.01, 20_000)
    most = min(share, batch_s / (batch_s + 0.01))
    assert spent[True] / (spent[True] + spent[False]) == pytest.approx(most, rel=0.1)
    assert not any(one and other for one, other in pairwise(order))


def test_with_a_share_of_0_a_batch_waits_for_the_last_live_request():
    """Then every step is its own."""
    order, _ = turns(0.0, 0.01, 0.01, 100, has_live=lambda step: step < 60)
    assert order == [False] * 60 + [True] * 40


def test_a_live_request_that_arrives_waits_for_one_batch_step_at_most():
    """The step that runs: the next one is its own, also after a long time without live requests."""
    for share in (0.1, 0.9):
        order, _ = turns(share, 0.05, 0.001, 40, has_live=lambda step: step >= 20)
        assert order[:20] == [True] * 20
        assert order[20:22] == [False, False]


def test_an_idle_lane_takes_no_turn():
    """A step is live where no batch waits."""
    lanes = LaneTurns(0.5)
    assert not lanes.begin(has_live=True, has_batch=False)
    assert not lanes.begin(has_live=False, has_batch=False)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share):
    """Below 0 is no share, and with 1 no live request would end."""
    with pytest.raises(ValueError, match="share"):
        LaneTurns(share)
