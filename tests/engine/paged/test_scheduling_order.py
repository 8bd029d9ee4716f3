"""The order of admission: priority, then fairness between tasks, then arrival; and no task waits forever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.engine.events import TokenEvent
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text
from tests.engine.paged.scripted_runner import make_prefix


def set_counters(harness: EngineHarness, **served: int) -> None:
    """Let tasks have been served this many tokens."""
    for task, count in served.items():
        counters = harness.scheduler.counters
        counters.charge(task, count - counters.served(task))


# --- order ------------------------------------------------------------------------------------------------------------


def test_within_a_task_first_come_first_served():
    harness = EngineHarness(make_options(max_num_seqs=2))
    order: list[str] = []
    for number in range(8):
        request = generate(f"r{number}", text(5, seed=number), max_tokens=3)
        harness.requests[request.request_id] = request
        harness.engine.add(
            request, lambda event, name=request.request_id: order.append(name) if name not in order else None
        )
    harness.drain()
    assert order == [f"r{number}" for number in range(8)]


@pytest.mark.parametrize("with_prefixes", [False, True])
def test_a_flood_of_one_task_does_not_delay_another(with_prefixes):
    """With 64 requests of one task open, another's first token comes within two steps of its idle time."""

    def prefix(number: int):
        return make_prefix(number, 6) if with_prefixes else None

    idle = EngineHarness(make_options(max_num_seqs=16))
    in_idle = idle.steps_to_first_token(idle.add(generate("other", text(20, 99), task="other", prefix=prefix(2))))
    harness = EngineHarness(make_options(max_num_seqs=16))
    for number in range(64):
        harness.add(generate(f"r{number}", text(12, number), task="flood", prefix=prefix(1), max_tokens=40))
    harness.steps(10)
    other = harness.add(generate("other", text(20, 99), task="other", prefix=prefix(2)))
    assert harness.steps_to_first_token(other) <= in_idle + 2
    harness.drain()
    harness.check_all()


def test_a_flood_that_holds_all_blocks_makes_room_for_another_task():
    harness = EngineHarness(make_options(num_blocks=41, max_num_seqs=16))
    for number in range(64):
        harness.add(generate(f"r{number}", text(12, number), task="flood", max_tokens=40))
    harness.steps(15)
    assert harness.engine.stats.num_free_blocks < 8  # too few for the other's prompt
    other = harness.add(generate("other", text(32, 99), task="other"))
    assert harness.steps_to_first_token(other) <= 3
    assert harness.engine.stats.num_preemptions > 0
    harness.drain()
    harness.check_all()


def test_decodes_that_fill_the_token_budget_do_not_delay_another_task():
    """The smallest budget that leaves room beside a full batch of decodes: one token more than sequences."""
    harness = EngineHarness(make_options(max_num_seqs=4, max_batch_tokens=5))
    for number in range(20):
        harness.add(generate(f"r{number}", text(4, number), task="flood", max_tokens=60))
    harness.steps(40)
    other = harness.add(generate("other", text(4, 99), task="other"))
    assert harness.steps_to_first_token(other) <= 4


def test_two_busy_tasks_are_served_alike():
    harness = EngineHarness(make_options(max_num_seqs=4, max_batch_tokens=24))
    for number in range(20):
        harness.add(generate(f"a{number}", text(12, number), task="a", max_tokens=10))
    for number in range(20):
        harness.add(generate(f"b{number}", text(12, 100 + number), task="b", max_tokens=10))
    harness.steps(60)
    served = harness.scheduler.counters.served
    assert abs(served("a") - served("b")) <= 24 + 12
    harness.drain()
    harness.check_all()


def test_the_choices_left_by_an_aborted_one_keep_its_place_in_the_queue():
    harness = EngineHarness(make_options(max_num_seqs=1))
    order: list[str] = []
    for number in range(5):
        request = generate(f"r{number}", text(8, number), num_choices=2, max_tokens=1)
        harness.engine.add(request, lambda event, name=request.request_id: order.append(name))
    harness.engine.abort("r1", choice=0)
    order.clear()
    harness.drain()
    assert order == sorted(order)


def test_choices_without_a_place_go_before_later_requests():
    harness = EngineHarness(make_options(max_num_seqs=1))
    order: list[str] = []
    for number in range(3):
        request = generate(f"r{number}", num_choices=3, max_tokens=3)
        harness.requests[request.request_id] = request
        harness.engine.add(request, lambda event, name=request.request_id: order.append(name))
    harness.drain()
    assert order == sorted(order)


def test_nobody_is_admitted_far_ahead_of_the_first_that_waits_for_room():
    """A second that waits, itself ahead of the first, does not move the limit."""
    harness = EngineHarness(make_options(num_blocks=21, max_prefix_blocks=2, max_num_seqs=8, fair_quantum=32))
    harness.add(generate("running", text(8), task="running", max_tokens=40))
    harness.steps(1)
    harness.add(generate("first", text(70, 1), task="first", max_tokens=2))
    harness.add(generate("second", text(70, 2), task="second", max_tokens=2))
    harness.add(generate("far", text(4, 3), task="far", max_tokens=2))
    set_counters(harness, running=1000, first=0, second=30, far=60)
    harness.steps(1)
    assert harness.events["far"] == []
    set_counters(harness, far=31)
    harness.steps(1)
    assert harness.events["far"] != []
    harness.drain()
    harness.check_all()


def test_a_large_request_is_not_starved_by_small_ones_of_new_tasks():
    """Newcomers start level with it; once it has waited for a quantum, none of them passes any more."""
    harness = EngineHarness(make_options(num_blocks=41, max_num_seqs=16, fair_quantum=64))
    for number in range(6):
        harness.add(generate(f"small{number}", text(8, number), task=f"t{number}", max_tokens=16))
        harness.steps(2)
    large = harness.add(generate("large", text(60, 7), task="large", max_tokens=20))
    for number in range(6, 300):
        harness.add(generate(f"small{number}", text(8, number), task=f"t{number}", max_tokens=16))
        harness.steps(2)
        if large:
            return
    raise AssertionError("the large request has not begun after 588 steps")


# --- priorities -------------------------------------------------------------------------------------------------------


def test_a_better_priority_is_admitted_first_whatever_fairness_says():
    """Across tasks and within one; among equals, who came first."""
    harness = EngineHarness(make_options(max_num_seqs=1))
    harness.add(generate("running", max_tokens=3))
    harness.steps(1)
    order: list[str] = []
    for name, task, priority in (("a", "t", 5), ("b", "t", 0), ("c", "u", -1), ("d", "t", -1), ("e", "u", 5)):
        request = replace(generate(name, task=task, max_tokens=2), priority=priority)
        events = harness.add(request)
        del events
    for _ in range(200):
        harness.engine.step()
        for name in "abcde":
            if name not in order and any(isinstance(event, TokenEvent) for event in harness.events[name]):
                order.append(name)
    assert order[:3] == ["c", "d", "b"]
    assert set(order[3:]) == {"a", "e"}
    harness.check_all()
