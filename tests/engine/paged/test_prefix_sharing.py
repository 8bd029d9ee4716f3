"""Resident prefixes within their budget, and text that is found in the prefix cache."""

from __future__ import annotations

import pytest

from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, prompt_event, text, tokens_of
from tests.engine.paged.scripted_runner import make_prefix

# --- prefixes ---------------------------------------------------------------------------------------------------------


def test_resident_prefixes_keep_their_budget():
    harness = EngineHarness(make_options(max_prefix_blocks=6))
    for number in range(12):
        harness.add(generate(f"r{number}", task=f"t{number}", prefix=make_prefix(number, 5 + number % 4)))
    while harness.engine.has_work:
        harness.steps(1)
        assert harness.scheduler.residency.num_blocks <= 6
        harness.check_books()
    harness.check_all()


def test_a_prefix_stays_for_the_next_request():
    harness = EngineHarness()
    for number in range(3):
        harness.add(generate(f"r{number}", text(5, number), prefix=make_prefix(1, 6)))
        harness.drain()
    assert harness.engine.stats.num_prefix_loads == 1
    harness.check_all()


def test_two_hundred_tasks_with_room_for_twenty_prefixes_all_finish():
    """Each in a bounded number of steps; no request fails for it, and prefixes are computed again on demand."""
    harness = EngineHarness(make_options(num_blocks=121, max_prefix_blocks=40, max_num_seqs=32, max_batch_tokens=128))
    for turn in range(2):
        for number in range(200):
            name = f"{turn}/{number}"
            harness.add(generate(name, text(6, number), task=f"t{number}", prefix=make_prefix(number, 7), max_tokens=4))
    harness.drain(most=400)
    assert harness.engine.stats.num_prefix_loads >= 200
    harness.check_all()


def test_a_long_answer_gives_its_prefix_up_to_a_task_that_waits():
    """All leases are held by a long stream: far ahead as it is, it loses its turn to the newcomer."""
    harness = EngineHarness(make_options(max_prefix_blocks=2, fair_quantum=8))
    harness.add(generate("long", task="long", prefix=make_prefix(1, 8), max_tokens=80))
    harness.steps(5)
    other = harness.add(generate("other", task="other", prefix=make_prefix(2, 8)))
    assert harness.steps_to_first_token(other) < 40
    harness.drain()
    harness.check_all()


@pytest.mark.parametrize("fair_quantum", [1, 1000])
def test_many_tasks_taking_turns_for_one_prefix_place_make_progress(fair_quantum):
    harness = EngineHarness(make_options(max_prefix_blocks=2, fair_quantum=fair_quantum, max_batch_tokens=20))
    for number in range(6):
        request = generate(f"r{number}", text(40, number), task=f"t{number}", prefix=make_prefix(number, 8))
        harness.add(
            generate(
                request.request_id, request.prompt_token_ids, task=request.task, prefix=request.prefix, max_tokens=40
            )
        )
    harness.drain(most=1500)
    harness.check_all()


# --- the prefix cache -------------------------------------------------------------------------------------------------


def test_equal_text_behind_one_prefix_is_computed_once():
    harness = EngineHarness()
    first = harness.add(generate("a", text(21), prefix=make_prefix(1, 6)))
    harness.drain()
    second = harness.add(generate("b", text(21), prefix=make_prefix(1, 6)))
    harness.drain()
    assert prompt_event(first).num_cached_tokens == 0
    assert prompt_event(second).num_cached_tokens == 18  # 6 virtual + 18 text tokens fill six blocks
    harness.check_all()


@pytest.mark.parametrize("other", [{"prefix": make_prefix(2, 6)}, {"prefix": None}, {"salt": b"other"}])
def test_equal_text_behind_another_prefix_or_salt_shares_nothing(other):
    harness = EngineHarness()
    harness.add(generate("a", text(21), prefix=make_prefix(1, 6)))
    harness.drain()
    second = harness.add(generate("b", text(21), **({"prefix": make_prefix(1, 6)} | other)))
    harness.drain()
    assert prompt_event(second).num_cached_tokens == 0
    harness.check_all()


def test_the_last_prompt_token_is_always_computed():
    """A prompt that is cached to its end still needs a row of logits."""
    harness = EngineHarness()
    for name in ("a", "b"):
        events = harness.add(generate(name, text(16), max_tokens=1))
        harness.drain()
    assert prompt_event(events).num_cached_tokens == 12
    harness.check_all()


def test_output_is_cached_for_the_next_turn_of_a_conversation():
    harness = EngineHarness()
    first = harness.add(generate("a", text(10), max_tokens=11))
    harness.drain()
    second = harness.add(generate("b", text(10) + tokens_of(first) + (1, 2)))
    harness.drain()
    assert prompt_event(second).num_cached_tokens == 20  # the last token sampled was never computed
    harness.check_all()


def test_preemption_together_with_a_prefix_hit():
    """The same prompts again and again in a cache that holds two of them."""
    harness = EngineHarness(make_options(num_blocks=21, max_prefix_blocks=4, max_batch_tokens=20))
    for number in range(12):
        prompt = text(14, 7) + text(3, number)
        harness.add(generate(f"r{number}", prompt, task=f"t{number % 3}", prefix=make_prefix(1, 6), max_tokens=14))
    harness.drain()
    hits = [prompt_event(events).num_cached_tokens for events in harness.events.values()]
    assert harness.engine.stats.num_preemptions > 0
    assert sum(hits) > 0
    harness.check_all()
