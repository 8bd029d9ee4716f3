"""Preemption: the victim, its return, and progress when blocks are short."""

from __future__ import annotations

import pytest

from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text
from tests.engine.paged.scripted_runner import make_prefix


def test_the_youngest_sequence_of_the_task_that_holds_most_is_preempted():
    harness = EngineHarness(make_options(num_blocks=13, max_prefix_blocks=2))
    harness.add(generate("small", text(4), task="small", max_tokens=30))
    harness.add(generate("old", text(8, 1), task="big", max_tokens=20))
    harness.add(generate("young", text(8, 2), task="big", max_tokens=20))
    while not harness.engine.stats.num_preemptions:
        harness.steps(1)
    (waiting,) = harness.scheduler.waiting
    assert waiting.group.request_id == "young"
    harness.drain()
    harness.check_all()


def test_a_preempted_sequence_comes_back_first_and_finds_its_blocks_in_the_cache():
    """Its recomputation starts from cached blocks, and its answer is the same."""
    harness = EngineHarness(make_options(num_blocks=17, max_prefix_blocks=2))
    for number in range(3):
        harness.add(generate(f"r{number}", text(16, number), max_tokens=24))
    harness.add(generate("late", text(4, 9), max_tokens=2))
    harness.drain()
    assert harness.engine.stats.num_preemptions > 0
    assert sum(map(sum, harness.runner.batches)) < 3 * 40 + 6 + harness.engine.stats.num_preemptions * 16
    harness.check_all()


@pytest.mark.parametrize(("num_blocks", "fair_quantum"), [(20, 1), (20, 32), (22, 32)])
def test_tasks_that_share_cached_text_do_not_preempt_each_other_for_ever(num_blocks, fair_quantum):
    """Cached blocks count as the newcomer's own: else it is over its share once it runs, and goes the same way."""
    harness = EngineHarness(
        make_options(
            num_blocks=num_blocks,
            block_size=2,
            max_num_seqs=4,
            max_batch_tokens=5,
            max_prefix_blocks=2,
            fair_quantum=fair_quantum,
        )
    )
    shared = text(8, seed=5)
    harness.add(generate("warm", (*shared, 1), max_tokens=1))
    harness.drain()
    for number, task in enumerate("abc"):
        harness.add(generate(task, shared + text(12, number), task=task, max_tokens=2))
    harness.drain(most=100)
    harness.check_all()


def test_forks_without_room_are_computed_later():
    """Eight choices of which hardly two fit: all answer, none fails for memory."""
    harness = EngineHarness(make_options(num_blocks=9, max_prefix_blocks=2))
    request = generate("r", text(15), num_choices=8, temperature=1.0, seed=3, max_tokens=12)
    harness.add(request)
    harness.drain()
    assert harness.engine.stats.num_preemptions > 0
    harness.check_all()


def test_a_request_that_fills_the_whole_cache_runs_alone():
    harness = EngineHarness(make_options(num_blocks=17, max_prefix_blocks=4))
    for number in range(4):
        harness.add(generate(f"small{number}", text(8, number), task="small", max_tokens=8))
    harness.add(generate("whole", text(47), task="whole", prefix=make_prefix(1, 5), max_tokens=8))
    harness.drain(most=300)
    harness.check_all()
