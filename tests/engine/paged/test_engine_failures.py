"""What goes wrong in a step ends the requests it belongs to, and nothing else."""

from __future__ import annotations

import pytest

from server.engine.errors import StepFailed
from server.engine.events import RequestFailed
from server.engine.request import Generate, Request, SamplingParams, Score
from tests.engine.paged.alone import check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, is_nan, text, tokens_of
from tests.engine.paged.scripted_runner import NAN_TOKEN, InjectedFailure, make_prefix


def nan(name: str, prompt: tuple[int, ...], **sampling) -> Request[Generate]:
    return generate(name, (*prompt, NAN_TOKEN), logit_bias=(), **sampling)


def the_cause(events) -> BaseException:
    (failed,) = [event for event in events if isinstance(event, RequestFailed)]
    assert events[-1] is failed
    return failed.cause


def test_nan_ends_its_request_and_leaves_its_neighbours_alone():
    harness = EngineHarness()
    bad = harness.add(nan("bad", (1, 2)))
    good = harness.add(generate("good", (1, 2, 3)))
    harness.drain()
    assert is_nan(the_cause(bad))
    check_answer(harness.requests["good"], good)
    harness.check_empty()


def test_nan_in_a_later_choice_ends_an_earlier_one_of_the_same_batch_without_further_events():
    """The earlier choice was already picked for sampling, and would have finished in this very step."""
    harness = EngineHarness()
    good = harness.add(generate("good"))
    for seed in range(200):
        sampling = SamplingParams(max_tokens=3, temperature=2.0, seed=seed, ignore_eos=True)
        request = Request(f"r{seed}", "", (1, 2), Generate(sampling, num_choices=4))
        events = harness.add(request)
        harness.drain()
        check_answer(request, events)
        harness.check_books()
    check_answer(harness.requests["good"], good)
    failed = [events for events in harness.events.values() if isinstance(events[-1], RequestFailed)]
    assert len(failed) > 10
    harness.check_empty()


def test_nan_of_a_cancelled_prompt_never_reaches_the_next_owner_of_its_blocks():
    """A chunk without a token to sample is checked too: zero times NaN is NaN, even in a slot that a mask hides."""
    harness = EngineHarness(make_options(num_blocks=9, max_batch_tokens=8, max_num_seqs=2, max_prefix_blocks=2))
    harness.add(generate("bad", (*text(3), NAN_TOKEN, *text(20))))
    harness.steps(1)
    harness.engine.abort("bad")
    good = harness.add(generate("good", text(29), max_tokens=2))  # all blocks: the last has slots still unwritten
    harness.drain()
    check_answer(harness.requests["good"], good)
    harness.check_empty()


def test_nan_is_found_in_the_chunk_that_made_it():
    """Its blocks never enter the prefix cache."""
    harness = EngineHarness(make_options(max_batch_tokens=8, max_num_seqs=2))
    bad = harness.add(generate("bad", (*text(3), NAN_TOKEN, *text(20))))
    harness.steps(1)
    assert is_nan(the_cause(bad))
    harness.check_empty()


@pytest.mark.parametrize("call", ["forward", "copy"])
def test_a_failing_step_fails_its_requests_with_its_cause_and_the_engine_goes_on(call):
    harness = EngineHarness()
    harness.runner.fail_next = {call}
    bad = harness.add(generate("bad", prefix=make_prefix(1, 5)))
    harness.steps(1)
    cause = the_cause(bad)
    assert isinstance(cause, StepFailed)
    assert isinstance(cause.__cause__, InjectedFailure)
    good = harness.add(generate("good", prefix=make_prefix(1, 5)))
    harness.drain()
    check_answer(harness.requests["good"], good)
    harness.check_empty()


def test_a_dead_device_fails_the_step_that_met_it_and_ends_the_engine():
    harness = EngineHarness()
    bad = harness.add(generate("bad"))
    harness.runner.is_dead = True
    with pytest.raises(InjectedFailure, match="dead"):
        harness.steps(1)
    assert isinstance(the_cause(bad), StepFailed)


def test_a_failing_step_spares_who_is_not_in_it():
    harness = EngineHarness(make_options(max_num_seqs=1))
    bad = harness.add(generate("bad"))
    waits = harness.add(generate("waits"))
    harness.runner.fail_next = {"forward"}
    harness.drain()
    assert isinstance(the_cause(bad), StepFailed)
    check_answer(harness.requests["waits"], waits)


def test_a_prefix_that_does_not_load_fails_who_waits_for_it_and_nobody_else():
    harness = EngineHarness()
    broken, sound = make_prefix(1, 5), make_prefix(2, 5)
    harness.runner.failing_prefixes = {broken.digest}
    bad = [harness.add(generate(f"bad{n}", prefix=broken)) for n in range(3)]
    good = harness.add(generate("good", prefix=sound))
    harness.drain()
    assert all(is_nan(the_cause(events)) for events in bad)
    check_answer(harness.requests["good"], good)
    harness.check_empty()


def test_a_sequence_that_waits_for_a_place_tries_a_failed_prefix_again():
    """It held no lease when the load failed, so the failure was not its own."""
    harness = EngineHarness(make_options(max_num_seqs=1))
    prefix = make_prefix(1, 5)
    harness.runner.failing_prefixes = {prefix.digest}
    bad = harness.add(generate("bad", prefix=prefix))
    waits = harness.add(generate("waits", prefix=prefix))
    harness.steps(1)
    harness.runner.failing_prefixes = set()
    harness.drain()
    assert is_nan(the_cause(bad))
    check_answer(harness.requests["waits"], waits)
    harness.check_empty()


def test_loading_that_raises_leaves_no_nan_in_the_blocks():
    harness = EngineHarness(make_options(num_blocks=6, max_prefix_blocks=2))
    harness.runner.fail_next = {"load"}
    bad = harness.add(generate("bad", prefix=make_prefix(1, 8)))
    harness.steps(1)
    assert isinstance(the_cause(bad), StepFailed)
    good = harness.add(generate("good", text(5)))
    harness.drain()
    check_answer(harness.requests["good"], good)
    harness.check_empty()


def test_a_request_ends_even_where_scrubbing_blocks_fails():
    """Whatever the cleaning up meets, nobody waits for ever, and the engine goes on."""
    harness = EngineHarness()
    harness.add(nan("bad", (1, 2)))
    harness.add(generate("good"))
    harness.runner.fail_next = {"zero"}
    harness.steps(1)
    for events in harness.events.values():
        the_cause(events)
    after = harness.add(generate("after"))
    harness.drain()
    check_answer(harness.requests["after"], after)
    harness.check_empty()


def test_nan_in_one_continuation_fails_the_score_request():
    harness = EngineHarness()
    events = harness.add(Request("s", "", (1, 2), Score(((3, 4), (NAN_TOKEN, 5), (6,)))))
    fine = harness.add(Request("t", "", (1, 2), Score(((3, 4), (5, NAN_TOKEN)))))
    harness.drain()
    assert is_nan(the_cause(events))
    check_answer(harness.requests["t"], fine)
    harness.check_empty()


def test_tokens_before_a_failure_were_delivered():
    """A choice that samples a token which the model answers with NaN keeps what it had."""
    harness = EngineHarness()
    events = harness.add(generate("r", logit_bias=((5, 100.0),), max_tokens=4))
    harness.steps(2)
    harness.runner.fail_next = {"forward"}
    harness.steps(1)
    assert tokens_of(events) == (5, 5)
    assert isinstance(the_cause(events), StepFailed)
