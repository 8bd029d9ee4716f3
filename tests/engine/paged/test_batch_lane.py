"""Batch requests beside live ones in one engine: they change no answer and hold nothing that a live request needs."""

import dataclasses

import pytest

from server.engine.events import TokenEvent
from server.model.prefix import PrefixKind
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text, tokens_of
from tests.engine.paged.scripted_runner import make_prefix


def batch(name, prompt, **more):
    """A request of a batch that generates to its limit."""
    return dataclasses.replace(generate(name, prompt, ignore_eos=True, **more), is_batch=True)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_answers_are_those_of_each_alone(share):
    """Interleaved in any way, through preemption and a shared prefix."""
    harness = EngineHarness(make_options(batch_share=share, num_blocks=40, max_prefix_blocks=8, max_num_seqs=4))
    prefix = make_prefix(1, 5, PrefixKind.KEY_VALUES)
    for number in range(12):
        make = batch if number % 2 else generate
        harness.add(make(f"r{number}", text(9, number), task=f"t{number % 3}", prefix=prefix, max_tokens=20))
        harness.steps(2)
        harness.check_books()
    harness.drain()
    harness.check_all()


def test_with_a_share_of_0_a_batch_stands_still_beside_a_live_request():
    """And goes on where it was, with the same answer."""
    harness = EngineHarness(make_options(batch_share=0.0))
    events = harness.add(batch("b", text(5), max_tokens=20))
    harness.steps(4)
    before = len(tokens_of(events))
    live = harness.add(generate("l", text(6), max_tokens=10, ignore_eos=True))
    assert harness.steps_to_first_token(live) == 1
    harness.steps(8)
    assert len(tokens_of(events)) == before
    harness.drain()
    assert len(tokens_of(events)) == 20
    harness.check_all()


def test_a_live_request_takes_the_blocks_of_a_batch():
    """The batch's youngest sequence goes back to its queue; the live one starts at once."""
    harness = EngineHarness(make_options(num_blocks=34, max_prefix_blocks=1, max_num_seqs=8, max_context=64))
    for number in range(4):
        harness.add(batch(f"b{number}", text(20, number), max_tokens=8, task=f"b{number}"))
    harness.steps(3)
    assert harness.engine.stats.num_batch_running == 4
    live = harness.add(generate("l", text(50, 9), max_tokens=8, ignore_eos=True))
    assert harness.steps_to_first_token(live) <= 2
    assert harness.engine.stats.num_preemptions > 0
    harness.check_books()
    harness.drain()
    harness.check_all()


def test_a_live_request_takes_the_lease_of_a_batch():
    """The budget of prefixes is full of the batch's: it gives way, without a fault."""
    harness = EngineHarness(make_options(max_prefix_blocks=2))
    first, second = (make_prefix(number, 8, PrefixKind.EMBEDDINGS) for number in (1, 2))
    harness.add(batch("b", text(4), max_tokens=30, prefix=first, task="a"))
    harness.steps(3)
    live = harness.add(generate("l", text(4), max_tokens=4, prefix=second, task="b", ignore_eos=True))
    assert harness.steps_to_first_token(live) == 1
    harness.drain()
    harness.check_all()


def test_a_batch_does_not_count_as_load():
    """Who decides by the queue whether a live request is refused sees live requests only."""
    harness = EngineHarness()
    for number in range(12):
        harness.add(batch(f"b{number}", text(5, number), max_tokens=4))
    harness.steps(2)
    stats = harness.engine.stats
    assert (stats.num_waiting, stats.num_running) == (0, 0)
    assert (stats.num_batch_waiting, stats.num_batch_running, stats.num_batch_steps) == (4, 8, 2)


def test_a_batch_is_aborted_like_any_request():
    """All of its choices leave the lane, and nothing stays held."""
    harness = EngineHarness()
    events = harness.add(batch("b", text(5), max_tokens=20, num_choices=3))
    harness.steps(3)
    harness.engine.abort("b")
    harness.drain()
    assert any(isinstance(event, TokenEvent) for event in events)
    harness.check_empty()
