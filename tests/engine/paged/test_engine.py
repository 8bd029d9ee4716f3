"""What a request's caller sees: events in order, exactly one of them terminal."""

from __future__ import annotations

import pytest

from server.engine.events import (
    TERMINAL,
    ChoiceFinished,
    FinishReason,
    PromptProcessed,
    RequestFinished,
    Scored,
    TokenEvent,
)
from server.engine.request import Generate, Request, SamplingParams, Score
from tests.engine.paged.alone import alone_choice, alone_logprobs, check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, prompt_event, reason_of, text, tokens_of
from tests.engine.paged.scripted_runner import EOS, NAN_TOKEN, history_of, make_prefix, scripted_logits


@pytest.fixture
def harness() -> EngineHarness:
    return EngineHarness()


# --- generating -------------------------------------------------------------------------------------------------------


def test_events_come_in_order(harness):
    """The prompt once, then a token a step with the reason on the last, then the end."""
    events = harness.add(generate("r", max_tokens=3))
    harness.drain()
    assert [type(event) for event in events] == [PromptProcessed, TokenEvent, TokenEvent, TokenEvent, RequestFinished]
    assert [event.finish_reason for event in events[1:-1]] == [None, None, FinishReason.LENGTH]
    check_answer(harness.requests["r"], events)


def test_the_prompt_is_processed_once_even_if_it_is_computed_twice():
    harness = EngineHarness(make_options(num_blocks=9, max_prefix_blocks=2))
    for number in range(3):
        harness.add(generate(f"r{number}", text(10, number), max_tokens=15))
    harness.drain()
    assert harness.engine.stats.num_preemptions > 0
    for events in harness.events.values():
        prompt_event(events)


def test_no_tokens_wanted_gives_none(harness):
    events = harness.add(generate("r", num_choices=2, max_tokens=0, prompt_logprobs=0))
    harness.drain()
    assert [type(event) for event in events] == [PromptProcessed, ChoiceFinished, ChoiceFinished, RequestFinished]
    assert reason_of(events, 1) is FinishReason.LENGTH
    check_answer(harness.requests["r"], events)
    harness.check_empty()


def favour(*biases: tuple[int, float]) -> dict:
    return {"logit_bias": ((NAN_TOKEN, -100.0), *biases)}


def test_the_end_token_ends_a_choice_and_is_reported(harness):
    events = harness.add(generate("r", ignore_eos=False, **favour((EOS, 100.0))))
    harness.drain()
    assert tokens_of(events) == (EOS,)
    assert reason_of(events) is FinishReason.STOP


def test_the_end_token_can_be_ignored(harness):
    events = harness.add(generate("r", ignore_eos=True, max_tokens=3, **favour((EOS, 100.0))))
    harness.drain()
    assert tokens_of(events) == (EOS, EOS, EOS)
    assert reason_of(events) is FinishReason.LENGTH


def test_a_stop_token_ends_a_choice_even_where_the_end_token_is_ignored(harness):
    events = harness.add(generate("r", stop_token_ids=frozenset({5}), **favour((5, 100.0))))
    harness.drain()
    assert tokens_of(events) == (5,)
    assert reason_of(events) is FinishReason.STOP


def test_the_last_allowed_token_that_is_also_a_stop_token_counts_as_stop(harness):
    events = harness.add(generate("r", max_tokens=1, stop_token_ids=frozenset({5}), **favour((5, 100.0))))
    harness.drain()
    assert reason_of(events) is FinishReason.STOP


def test_min_tokens_forbid_every_end_until_they_are_reached(harness):
    params = favour((5, 100.0), (EOS, 90.0))
    events = harness.add(
        generate("r", min_tokens=3, ignore_eos=False, stop_token_ids=frozenset({5}), max_tokens=9, **params)
    )
    harness.drain()
    tokens = tokens_of(events)
    assert len(tokens) == 4
    assert not {5, EOS} & set(tokens[:3])
    assert tokens[3] == 5


def test_token_log_probabilities_are_of_the_raw_distribution(harness):
    events = harness.add(generate("r", max_tokens=1, num_logprobs=3, temperature=0.7, seed=1, **favour((5, 100.0))))
    harness.drain()
    (token,) = [event for event in events if isinstance(event, TokenEvent)]
    raw = alone_logprobs(None, (1, 2, 3), [5])[0]
    assert token.token_id == 5
    assert token.logprob.logprob == pytest.approx(raw, abs=1e-5)
    row = scripted_logits(history_of(None, (1, 2, 3)))
    assert token.logprob.top[0][0] == max(range(len(row)), key=row.__getitem__)
    assert len(token.logprob.top) == 3


@pytest.mark.parametrize("max_batch_tokens", [16, 17, 40])
def test_prompt_log_probabilities_do_not_depend_on_chunks(max_batch_tokens):
    harness = EngineHarness(make_options(max_batch_tokens=max_batch_tokens))
    for number in range(3):
        harness.add(generate(f"r{number}", text(30, number), prompt_logprobs=2, prefix=make_prefix(1, 5)))
    harness.drain()
    for name, request in harness.requests.items():
        check_answer(request, harness.events[name])


def test_prompt_log_probabilities_survive_preemption():
    """Some were collected before the sequence was preempted: they are neither lost nor doubled."""
    harness = EngineHarness(make_options(num_blocks=21, max_batch_tokens=18, max_prefix_blocks=4))
    harness.add(generate("old", text(4), task="a", max_tokens=60))
    harness.steps(8)
    for number in range(3):
        harness.add(generate(f"r{number}", text(60, number), task=f"t{number}", prompt_logprobs=0, max_tokens=4))
    harness.steps(2)
    for number in range(5):
        harness.add(generate(f"s{number}", text(9, number), task=f"s{number}", max_tokens=4))
    harness.drain()
    assert harness.engine.stats.num_preemptions > 0
    for name, request in harness.requests.items():
        check_answer(request, harness.events[name])


def test_choices_differ_with_temperature_and_share_the_prompt(harness):
    """Seven full prompt blocks are held once; only the part-filled one is copied for each choice."""
    events = harness.add(generate("r", text(30), num_choices=4, temperature=2.0, seed=5, max_tokens=2))
    harness.steps(1)
    assert harness.runner.num_copies == 3
    assert harness.engine.stats.num_blocks - harness.engine.stats.num_free_blocks == 7 + 4
    harness.drain()
    assert sum(map(sum, harness.runner.batches)) == 30 + 4
    assert len({tokens_of(events, choice) for choice in range(4)}) > 1
    check_answer(harness.requests["r"], events)
    harness.check_empty()


def test_choices_are_equal_without_temperature(harness):
    events = harness.add(generate("r", num_choices=3))
    harness.drain()
    assert len({tokens_of(events, choice) for choice in range(3)}) == 1


def test_a_seed_answers_the_same_alone_and_in_a_crowd():
    def ask(harness: EngineHarness) -> tuple[int, ...]:
        events = harness.add(generate("seeded", text(9), temperature=1.5, seed=77, max_tokens=20))
        harness.drain()
        return tokens_of(events)

    crowd = EngineHarness(make_options(num_blocks=19, max_num_seqs=6, max_prefix_blocks=2))
    for number in range(12):
        crowd.add(generate(f"r{number}", text(7, number), task=f"t{number % 4}", max_tokens=20))
    crowd.steps(4)
    assert ask(crowd) == ask(EngineHarness())
    assert crowd.engine.stats.num_preemptions > 0


def test_without_a_seed_answers_differ(harness):
    answers = set()
    for number in range(6):
        events = harness.add(generate(f"r{number}", temperature=2.0, max_tokens=6))
        harness.drain()
        answers.add(tokens_of(events))
    assert len(answers) > 1


def test_a_step_without_work_does_nothing(harness):
    assert not harness.engine.has_work
    harness.steps(2)
    assert harness.runner.batches == []


# --- scoring ----------------------------------------------------------------------------------------------------------


def score(name: str, *continuations: tuple[int, ...], prompt=(1, 2, 3), prefix=None, task="") -> Request[Score]:
    return Request(name, task, prompt, Score(continuations), prefix)


def test_scores_are_sums_over_each_continuation(harness):
    events = harness.add(score("s", (4,), (5, 6), (5, 6, 7, 8, 9), (4, EOS), prefix=make_prefix(1, 5)))
    harness.drain()
    (scored,) = events
    assert isinstance(scored, Scored)
    check_answer(harness.requests["s"], events)
    harness.check_empty()


def test_the_prompt_is_computed_once_for_all_continuations(harness):
    harness.add(score("s", (4, 5), (5, 6), (6, 7), prompt=text(21)))
    harness.drain()
    assert harness.runner.batches == [(21,), (1, 1, 1)]


def test_continuations_of_one_token_need_no_further_step(harness):
    events = harness.add(score("s", (4,), (5,), (6,)))
    assert harness.drain() == 1
    check_answer(harness.requests["s"], events)


def test_equal_continuations_score_alike(harness):
    events = harness.add(score("s", (4, 5), (4, 5)))
    harness.drain()
    assert events[0].logprobs[0] == events[0].logprobs[1]


@pytest.mark.parametrize("num_blocks", [5, 6, 7, 9, 12])
def test_continuations_are_scored_without_a_free_block(num_blocks):
    """Those that cannot fork are computed later, one after the other; single tokens never need a block."""
    harness = EngineHarness(make_options(num_blocks=num_blocks, max_prefix_blocks=1))
    events = harness.add(score("s", (4,), (5, 6, 7), (8,), (9, 10, 1, 2, 3, 4), prompt=text(10)))
    harness.drain(most=60)
    check_answer(harness.requests["s"], events)
    harness.check_empty()


def test_scores_report_cached_tokens(harness):
    for name in ("a", "b"):
        events = harness.add(score(name, (4, 5), prompt=text(13)))
        harness.drain()
    assert events[0].num_cached_tokens == 12


# --- aborting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("num_choices", [1, 3])
def test_an_aborted_request_frees_everything_at_once(steps, num_choices):
    """While it waits, while its prompt is in chunks, and while it decodes."""
    harness = EngineHarness(make_options(max_batch_tokens=16))
    events = harness.add(generate("r", text(40), num_choices=num_choices, prefix=make_prefix(1, 6)))
    harness.steps(steps)
    harness.engine.abort("r")
    assert not harness.engine.has_work
    assert [reason_of(events, choice) for choice in range(num_choices)] == [FinishReason.ABORTED] * num_choices
    assert isinstance(events[-1], RequestFinished)
    harness.steps(1)  # a prefix that was about to be loaded
    harness.check_empty()


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_an_aborted_score_request_ends_without_scores(steps):
    harness = EngineHarness(make_options(max_batch_tokens=16))
    events = harness.add(score("s", (1, 2, 3), (4, 5), prompt=text(40), prefix=make_prefix(1, 6)))
    harness.steps(steps)
    harness.engine.abort("s")
    assert [type(event) for event in events] == [RequestFinished]
    harness.steps(1)
    harness.check_empty()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_aborting_the_choice_that_others_are_forked_from_lets_them_go_on(steps):
    """One of the others takes over the prompt, its log-probabilities included."""
    harness = EngineHarness(make_options(max_batch_tokens=16))
    request = generate("r", text(40), num_choices=3, temperature=1.0, seed=3, prompt_logprobs=1)
    events = harness.add(request)
    harness.steps(steps)
    harness.engine.abort("r", choice=0)
    harness.check_books()
    harness.drain()
    assert reason_of(events, 0) is FinishReason.ABORTED
    assert tokens_of(events, 0) == ()
    for choice in (1, 2):
        assert tokens_of(events, choice) == alone_choice(request, choice).tokens
    reported = prompt_event(events).prompt_logprobs
    assert len(reported) == 40
    expected = alone_logprobs(None, request.prompt_token_ids[:1], request.prompt_token_ids[1:])
    assert [entry.logprob for entry in reported[1:]] == pytest.approx(expected, abs=1e-4)
    assert isinstance(events[-1], RequestFinished)
    harness.check_empty()


def test_aborting_one_choice_leaves_the_others(harness):
    events = harness.add(generate("r", num_choices=3, temperature=1.0, seed=3))
    harness.steps(2)
    harness.engine.abort("r", choice=1)
    harness.engine.abort("r", choice=1)
    harness.drain()
    request = harness.requests["r"]
    assert [len(tokens_of(events, choice)) for choice in range(3)] == [8, 2, 8]
    assert tokens_of(events, 2) == alone_choice(request, 2).tokens
    assert sum(isinstance(event, ChoiceFinished) for event in events) == 1
    harness.check_empty()


def test_aborting_every_choice_one_by_one_ends_the_request(harness):
    events = harness.add(generate("r", num_choices=3))
    for choice in (0, 2, 1):
        harness.engine.abort("r", choice)
    assert isinstance(events[-1], RequestFinished)
    assert not harness.engine.has_work
    harness.check_empty()


def test_one_part_of_a_score_request_cannot_be_aborted(harness):
    """Its scores stay one a continuation."""
    events = harness.add(score("s", (1, 2, 3), (4, 5)))
    harness.engine.abort("s", choice=0)
    harness.steps(1)
    harness.engine.abort("s", choice=1)
    harness.drain()
    check_answer(harness.requests["s"], events)


def test_unknown_and_ended_requests_are_ignored(harness):
    harness.engine.abort("nobody")
    events = harness.add(generate("r", max_tokens=2))
    harness.drain()
    harness.engine.abort("r")
    harness.engine.abort("r", choice=0)
    assert sum(isinstance(event, TERMINAL) for event in events) == 1


def test_an_abort_frees_blocks_for_those_who_wait():
    harness = EngineHarness(make_options(num_blocks=9, max_prefix_blocks=2))
    harness.add(generate("hog", text(20), max_tokens=12))
    waits = harness.add(generate("waits", text(16, 1), max_tokens=4))
    harness.steps(3)
    assert waits == []
    harness.engine.abort("hog")
    harness.steps(2)
    assert tokens_of(waits)


def test_a_new_request_may_take_the_id_of_one_that_ended(harness):
    for _ in range(2):
        sampling = SamplingParams(max_tokens=2, temperature=0.0, ignore_eos=True)
        events: list = []
        harness.engine.add(Request("same", "", (1, 2), Generate(sampling)), events.append)
        harness.drain()
        assert isinstance(events[-1], RequestFinished)
