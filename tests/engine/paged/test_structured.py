"""Answers with a form: the engine's are those of a slow reference, whatever else is in the batch."""

from __future__ import annotations

import pytest
import torch

from server.engine.errors import StructureFailed
from server.engine.events import RequestFailed, TokenEvent
from server.model.encoder_decoder.decoding import Decoding
from tests.engine.paged.alone import alone_choice, check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, reason_of, text, tokens_of, with_form
from tests.engine.paged.scripted_runner import EOS, make_prefix
from tests.structured_outputs.forms import compiled, some_forms

FORMS = some_forms()


def requests(temperature):
    """Requests of every form, several choices each, before and behind soft prompts."""
    return [
        with_form(
            generate(
                f"form-{number}-{length}",
                text(length, number),
                prefix=make_prefix(number, 3) if number % 2 else None,
                task=f"task-{number % 2}",
                num_choices=1 + number % 3,
                temperature=temperature,
                seed=number,
                ignore_eos=number == 1,
                min_tokens=2 if number == 0 else 0,
                max_tokens=6,
            ),
            form,
        )
        for number, form in enumerate(FORMS)
        for length in (2, 5)
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("num_blocks", [129, 14], ids=["room", "preemption"])
def test_answers_in_a_batch_are_the_slow_ones(temperature, num_blocks):
    """Greedy and sampled, choices and all; a preempted answer goes on where its form stood."""
    harness = EngineHarness(make_options(num_blocks=num_blocks, max_prefix_blocks=4))
    asked = requests(temperature)
    streams = [harness.add(request) for request in asked]
    harness.drain()
    for request, events in zip(asked, streams, strict=True):
        check_answer(request, events)
    assert harness.engine.stats.num_preemptions > 0
    harness.check_empty()


def test_neighbours_without_a_form_get_what_they_get_alone():
    """Their logits stay as they are: same tokens, same log-probabilities."""
    plain = [generate(f"plain-{number}", text(4, number), num_logprobs=3) for number in range(3)]
    alone, beside = EngineHarness(), EngineHarness()
    expected = [alone.add(request) for request in plain]
    alone.drain()
    got = []
    for request, other in zip(plain, requests(1.0), strict=False):
        got.append(beside.add(request))
        beside.add(other)
    beside.drain()
    assert got == expected


def test_an_encoder_decoder_keeps_a_form():
    """The forced begin is no part of the answer's form, and a forced end may cut it."""
    decoding = Decoding(start=1, forced_bos=5, forced_eos=0)
    harness = EngineHarness(make_options(decoding=decoding, max_encoder_positions=96))
    request = with_form(generate("t5", text(4), ignore_eos=False, max_tokens=8), FORMS[0])
    events = harness.add(request)
    plain = Decoding(start=1)
    other = EngineHarness(make_options(decoding=plain, max_encoder_positions=96))
    free = other.add(request)
    harness.drain(), other.drain()
    check_answer(request, free, plain)
    first, *answer = tokens_of(events)
    assert first == 5
    matcher = FORMS[0].matcher(frozenset({EOS})).matcher
    assert matcher.consume_tokens(answer[:-1] if answer[-1] == 0 else answer)


def test_log_probabilities_are_those_among_the_allowed():
    """They sum to one over the tokens that the form allows; the others are not listed."""
    harness = EngineHarness()
    events = harness.add(with_form(generate("a", num_logprobs=12, max_tokens=1), compiled(regex="a|b|cc")))
    harness.drain()
    (event,) = [event for event in events if isinstance(event, TokenEvent)]
    assert {token for token, _ in event.logprob.top} == {1, 2, 3, 7}
    assert sum(torch.tensor([value for _, value in event.logprob.top]).exp()) == pytest.approx(1.0)


def test_a_form_that_cannot_be_finished_fails_its_request_alone():
    """The vocabulary lacks a letter; a neighbour goes on."""
    harness = EngineHarness()
    events = harness.add(with_form(generate("bad"), compiled(regex="a\u00e9")))
    good = harness.add(generate("good"))
    harness.drain()
    assert isinstance(events[-1], RequestFailed) and isinstance(events[-1].cause, StructureFailed)
    assert len(tokens_of(good)) == 8
    harness.check_books()


def test_an_aborted_choice_leaves_the_others():
    """Each choice stands in the form by itself."""
    harness = EngineHarness()
    request = with_form(generate("n", num_choices=3, temperature=1.0, seed=3, ignore_eos=False), FORMS[0])
    events = harness.add(request)
    harness.steps(2)
    harness.engine.abort("n", 1)
    harness.drain()
    for choice in (0, 2):
        alone = alone_choice(request, choice)
        assert (tokens_of(events, choice), reason_of(events, choice)) == (alone.tokens, alone.finish_reason)
