"""Token counters: who was served least goes first, and idling earns nothing."""

from __future__ import annotations

import pytest

from server.engine.thread.fairness import TokenCounters


def counters(**served: int) -> TokenCounters:
    """Busy tasks that were served this much."""
    made = TokenCounters()
    for task, count in served.items():
        made.open(task)
        made.charge(task, count)
    return made


def test_a_task_is_charged_what_it_is_served():
    made = counters(a=10)
    made.charge("a", 5)
    assert made.served("a") == 15


def test_a_task_that_comes_new_starts_at_the_lowest_counter_of_the_busy_ones():
    made = counters(a=100)
    made.open("b")
    made.charge("b", 30)
    made.open("c")
    assert made.served("c") == 100


def test_idling_earns_no_credit():
    """A task served little long ago starts level with those that worked meanwhile."""
    made = counters(a=0, b=10)
    made.close("b")
    made.charge("a", 500)
    made.open("b")
    assert made.served("b") == 500


def test_going_idle_for_a_moment_cancels_no_debt():
    made = counters(a=0, b=0)
    made.charge("b", 900)
    made.charge("a", 100)
    made.close("b")
    made.open("b")
    assert made.served("b") == 900


def test_further_sequences_of_a_busy_task_change_nothing():
    made = counters(a=100)
    made.open("b")
    made.charge("a", 50)
    made.open("b")
    assert made.served("b") == 100
    assert made.num_busy == 2


def test_once_all_are_idle_nothing_is_remembered():
    made = counters(a=100, b=5)
    made.close("a")
    made.close("b")
    assert made.num_busy == 0
    made.open("a")
    assert made.served("a") == 0


def test_counters_of_tasks_long_gone_do_not_pile_up():
    made = counters(a=0)
    for number in range(1000):
        made.open(f"t{number}")
        made.close(f"t{number}")
    assert len(made._served) <= 2 + 64 + 1


def test_a_debt_survives_the_sweeping_of_others():
    made = counters(a=0)
    made.open("debtor")
    made.charge("debtor", 1000)
    made.close("debtor")
    for number in range(200):
        made.open(f"t{number}")
        made.close(f"t{number}")
    made.open("debtor")
    assert made.served("debtor") == 1000


def test_an_unknown_task_is_a_mistake_of_ours():
    with pytest.raises(KeyError):
        TokenCounters().charge("nobody", 1)
