"""What the engine's thread publishes: counts, and the holders of batch, queue and blocks."""

from __future__ import annotations

from server.engine.paged.holders import read_usage
from server.engine.request import Request, Score
from server.engine.thread.snapshots import Snapshots
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text
from tests.engine.paged.scripted_runner import make_prefix


class Clock:
    """A clock that a test sets."""

    now = 10.0

    def __call__(self) -> float:
        return self.now


def test_tokens_and_outcomes_are_counted_while_requests_run():
    """Given tokens as computed or cached, sampled ones as generated, each end as what it was."""
    harness = EngineHarness()
    harness.add(generate("first", text(9), max_tokens=5))
    harness.steps(2)
    stats = harness.engine.stats
    assert (stats.num_prompt_tokens, stats.num_cached_tokens, stats.num_generated_tokens) == (9, 0, 2)
    assert (stats.num_last_sequences, stats.num_last_tokens) == (1, 1)
    harness.drain()
    harness.add(generate("again", text(9), num_choices=2, max_tokens=3))
    harness.drain()
    stats = harness.engine.stats
    assert (stats.num_prompt_tokens, stats.num_cached_tokens, stats.num_generated_tokens) == (10, 8, 11)
    harness.add(generate("left", text(5, 1)))
    harness.engine.abort("left")
    harness.runner.fail_next = {"forward"}
    harness.add(generate("failed", text(5, 2)))
    harness.drain()
    stats = harness.engine.stats
    assert (stats.num_finished, stats.num_aborted, stats.num_failed) == (2, 1, 1)


def test_labels_count_as_given_tokens():
    """A classification generates nothing."""
    harness = EngineHarness()
    harness.add(Request("score", "", text(6), Score(((1, 2, 3), (4,)))))
    harness.drain()
    stats = harness.engine.stats
    assert (stats.num_prompt_tokens, stats.num_generated_tokens, stats.num_finished) == (8, 0, 1)


def test_the_holders_are_named_by_task():
    """Running and waiting sequences, their blocks, the oldest arrival in the queue, and the prefix with its leases."""
    harness = EngineHarness(make_options(max_num_seqs=2))
    for number in range(3):
        harness.add(generate(f"r{number}", text(9, number), task="mood", prefix=make_prefix(1, 8)))
    harness.steps(1)
    usage = read_usage(harness.scheduler)
    (task,) = usage.tasks
    assert (task.task, task.num_running, task.num_waiting, task.num_blocks) == ("mood", 2, 1, 6)
    (group,) = [sequence.group for sequence in harness.scheduler.waiting]
    assert task.oldest_arrival == group.arrived_at
    (prefix,) = usage.prefixes
    assert (prefix.task, prefix.num_virtual_tokens, prefix.num_blocks, prefix.num_leases) == ("mood", 8, 2, 2)
    assert prefix.idle_since is None
    harness.drain()
    usage = read_usage(harness.scheduler)
    assert usage.tasks == () and usage.prefixes[0].idle_since is not None
    assert usage.num_cached_blocks > 0
    harness.check_all()


def test_blocks_that_choices_share_count_once():
    """Four choices of one prompt of two full blocks hold these, and one block of their own each."""
    harness = EngineHarness()
    harness.add(generate("forks", text(8), num_choices=4))
    harness.steps(2)
    (task,) = read_usage(harness.scheduler).tasks
    assert (task.num_running, task.num_blocks) == (4, 2 + 4)


def test_the_usage_is_taken_four_times_per_second_and_at_rest():
    """Counts follow each step; the walk over all sequences waits, but never for an idle engine."""
    harness, clock = EngineHarness(), Clock()
    snapshots = Snapshots(harness.engine, clock)
    harness.add(generate("r", max_tokens=3))
    harness.steps(1)
    snapshots.renew()
    assert (snapshots.stats.num_running, snapshots.usage.tasks) == (1, ())
    clock.now += 0.25
    snapshots.renew()
    assert [task.num_running for task in snapshots.usage.tasks] == [1]
    harness.drain()
    snapshots.renew()
    assert (snapshots.stats.num_running, snapshots.usage.tasks) == (0, ())


def test_a_request_of_one_step_leaves_its_mark_in_the_usage():
    """The engine was idle before and after it, and holds more cached blocks now."""
    harness = EngineHarness()
    snapshots = Snapshots(harness.engine, Clock())
    assert snapshots.usage.num_cached_blocks == 0
    harness.add(generate("r", text(8), max_tokens=1))
    harness.steps(1)
    snapshots.renew()
    assert snapshots.usage.num_cached_blocks == 2
