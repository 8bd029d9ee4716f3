"""A mask that is not there in time: its answer sits out and joins later with the same tokens, and neighbours go on."""

from __future__ import annotations

import asyncio

import pytest

from server.engine.errors import EngineStopped, StructureFailed
from server.engine.events import RequestFailed
from server.engine.thread.async_engine import AsyncEngine
from tests.engine.paged.alone import check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text, tokens_of, with_form
from tests.structured_outputs.forms import HeldMasks, compiled, some_forms


@pytest.fixture
def masks():
    """Masks that come when the test says so; all come at its end."""
    masks = HeldMasks()
    yield masks
    masks.release()


def harness_with(masks, **options):
    """An engine with these masks."""
    harness = EngineHarness(make_options(**options))
    harness.engine.forms.masks = masks
    return harness


def run_until_all_sit_out(harness):
    """Compute until no sequence can go on."""
    for _ in range(100):
        before = harness.engine.stats.num_steps
        harness.engine.step()
        if harness.engine.stats.num_steps == before:
            return
    raise AssertionError("some sequence always goes on")


def test_neighbours_go_on_and_the_late_one_joins_with_the_same_tokens(masks):
    """Its last token is computed again. Without a late mask no step is wasted."""
    harness, form = harness_with(masks), some_forms()[1]
    masks.hold(form)
    late = harness.add(with_form(generate("late", max_tokens=6), form))
    plain = harness.add(generate("plain"))
    run_until_all_sit_out(harness)
    assert (len(tokens_of(late)), len(tokens_of(plain))) == (1, 8)
    assert harness.engine.stats.form_holds.num_late == 1
    masks.release()
    harness.drain()
    harness.check_all()


def test_a_late_form_keeps_no_other_form_waiting(masks):
    """They share a call until one is late. Then it has a call of its own, and its next late mask is its own matter."""
    harness = harness_with(masks)
    slow, other = compiled(regex="[abcd]{60}"), compiled(regex="[abcd]{50}")
    masks.hold(slow)
    late = harness.add(with_form(generate("late", text(3, 1), max_tokens=20), slow))
    beside = harness.add(with_form(generate("beside", text(3, 2), max_tokens=12), other))
    run_until_all_sit_out(harness)
    assert (len(tokens_of(late)), len(tokens_of(beside))) == (1, 1)
    masks.release()
    masks.hold(slow)
    harness.steps(20)
    assert (len(tokens_of(late)), len(tokens_of(beside))) == (2, 12)
    masks.release()
    harness.drain()
    harness.check_all()


@pytest.mark.parametrize("num_blocks", [129, 14], ids=["room", "preemption"])
def test_whatever_comes_late_answers_are_those_alone(masks, num_blocks):
    """Greedy and sampled choices of several forms, before and behind a preemption."""
    harness = harness_with(masks, num_blocks=num_blocks, max_prefix_blocks=4)
    forms = some_forms()
    for number, form in enumerate(forms):
        for length in (2, 5):
            request = generate(
                f"{number}-{length}",
                text(length, number),
                task=f"task-{number % 2}",
                num_choices=1 + number % 3,
                temperature=number % 2,
                seed=number,
                ignore_eos=number == 1,
                max_tokens=6,
            )
            harness.add(with_form(request, form))
    for number in range(24):
        masks.hold(forms[number % len(forms)])
        harness.steps(2)
        harness.check_books()
        masks.release()
        harness.steps(1)
    harness.drain()
    assert harness.engine.stats.form_holds.num_late > 0
    assert harness.engine.stats.num_preemptions > 0 or num_blocks > 14
    harness.check_all()


def test_forks_of_a_late_form_sit_out_together(masks):
    """Each choice has a matcher, and all share the form."""
    harness, form = harness_with(masks), some_forms()[0]
    masks.hold(form)
    events = harness.add(with_form(generate("n", num_choices=3, temperature=1.0, seed=3, ignore_eos=False), form))
    run_until_all_sit_out(harness)
    assert [len(tokens_of(events, choice)) for choice in range(3)] == [1, 1, 1]
    masks.release()
    harness.drain()
    harness.check_all()


def test_an_abort_does_not_wait_for_the_mask(masks):
    """The thread goes on to write into memory that it holds itself."""
    harness, form = harness_with(masks), some_forms()[0]
    masks.hold(form)
    harness.add(with_form(generate("late"), form))
    run_until_all_sit_out(harness)
    harness.engine.abort("late")
    assert not harness.engine.has_work
    harness.check_empty()
    masks.release()
    again = harness.add(with_form(generate("again", max_tokens=12, ignore_eos=False), form))
    harness.drain()
    check_answer(harness.requests["again"], again)


def test_an_error_in_a_mask_fails_its_request_alone(masks):
    """The form counts as failed: it is compiled again for the next request."""
    harness, form = harness_with(masks), some_forms()[0]
    masks.failing.add(form)
    bad = harness.add(with_form(generate("bad"), form))
    good = harness.add(generate("good"))
    harness.drain()
    assert isinstance(bad[-1], RequestFailed) and isinstance(bad[-1].cause, StructureFailed)
    assert form.has_failed
    check_answer(harness.requests["good"], good)
    assert harness.engine.stats.num_step_failures == 0
    harness.check_empty()


def test_a_form_without_a_late_mask_wastes_no_row(masks):
    """Its answer takes as many steps as it has tokens."""
    harness = harness_with(masks)
    form = compiled(regex="[abcd]{6}")
    harness.add(with_form(generate("a", max_tokens=6), form))
    assert harness.drain() == len(harness.runner.batches)
    holds = harness.engine.stats.form_holds
    assert holds.num_late == 0 and sum(holds.num_steps) == len(harness.runner.batches)


async def test_a_server_stops_while_a_mask_is_computed(masks):
    """The engine's thread waits for no mask for long."""
    options = make_options()
    harness = harness_with(masks)
    client = AsyncEngine(harness.engine, options)
    form = some_forms()[0]
    masks.hold(form)
    async with asyncio.timeout(10), client.running():
        stream = client.stream(with_form(generate("late"), form))
        await anext(stream)
        await asyncio.sleep(0.02)
        await client.stop()
        events = [event async for event in stream]
    assert isinstance(events[-1], RequestFailed) and isinstance(events[-1].cause, EngineStopped)
