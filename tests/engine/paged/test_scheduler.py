"""Who runs next, and with which blocks: budgets are kept, work goes on, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.engine.events import TokenEvent
from server.engine.request import Request, Score
from tests.engine.paged.alone import check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, prompt_event, text, tokens_of
from tests.engine.paged.scripted_runner import make_prefix


def check_all(harness: EngineHarness) -> None:
    for request_id, request in harness.requests.items():
        check_answer(request, harness.events[request_id])
    harness.check_empty()


def set_counters(harness: EngineHarness, **served: int) -> None:
    for task, count in served.items():
        counters = harness.scheduler.counters
        counters.charge(task, count - counters.served(task))


def steps_to_first_token(harness: EngineHarness, events: list) -> int:
    for count in range(1, 500):
        harness.engine.step()
        if any(isinstance(event, TokenEvent) for event in events):
            return count
    raise AssertionError("no token came")


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_a_long_prompt_is_computed_in_chunks_of_the_token_budget():
    harness = EngineHarness(make_options(max_batch_tokens=16))
    harness.add(generate("r", text(40), max_tokens=2))
    harness.drain()
    assert harness.runner.batches == [(16,), (16,), (8,), (1,)]
    check_all(harness)


def test_decodes_go_on_while_a_long_prompt_is_computed():
    """Every step of the long prompt carries the running sequence's token too, within the budget."""
    harness = EngineHarness(make_options(max_batch_tokens=16))
    running = harness.add(generate("running", max_tokens=20))
    harness.steps(1)
    harness.add(generate("long", text(60), max_tokens=1))
    harness.steps(4)
    assert harness.runner.batches[1:] == [(1, 15)] * 4
    assert len(tokens_of(running)) == 5
    harness.drain()
    check_all(harness)


def test_prompts_that_are_scored_share_the_rows_of_logits_of_a_step_and_hold_nobody_up():
    """A row each, and what there is besides to whoever comes first; a prompt that is not scored needs no more."""
    harness = EngineHarness(make_options(max_scored_rows=9))
    harness.add(generate("first", text(30), prompt_logprobs=2, max_tokens=1))
    harness.add(generate("second", text(20, 1), prompt_logprobs=2, max_tokens=1))
    harness.add(generate("plain", text(25, 2), max_tokens=1))
    harness.steps(2)
    assert harness.runner.batches == [(10, 1, 25), (10, 1)]
    harness.drain()
    check_all(harness)


def test_continuations_that_are_scored_share_the_rows_of_logits_of_a_step():
    harness = EngineHarness(make_options(max_scored_rows=4))
    harness.add(Request("s", "", text(20), Score((text(9, 1), text(8, 2), text(7, 3)))))
    harness.steps(2)
    assert harness.runner.batches == [(20,), (5, 1, 1)]
    harness.drain()
    check_all(harness)


def test_several_short_prompts_share_a_step():
    harness = EngineHarness(make_options(max_batch_tokens=16))
    for number in range(5):
        harness.add(generate(f"r{number}", text(4, seed=number), task=f"t{number}"))
    harness.steps(1)
    assert harness.runner.batches == [(4, 4, 4, 4)]


def test_many_cold_prefixes_are_loaded_within_the_token_budget_and_hold_no_decode_up():
    """A prefix that becomes resident is computed like a prompt: its positions are the step's."""
    harness = EngineHarness(make_options(max_batch_tokens=24, max_num_seqs=16, num_blocks=257))
    running = harness.add(generate("running", max_tokens=20, ignore_eos=True))
    harness.steps(1)
    for number in range(12):
        harness.add(generate(f"r{number}", text(3), task=f"t{number}", prefix=make_prefix(number, 8), max_tokens=1))
    for step in range(1, 9):
        num_batches, num_loads = len(harness.runner.batches), len(harness.runner.loads)
        harness.steps(1)
        positions = sum(map(sum, harness.runner.batches[num_batches:] + harness.runner.loads[num_loads:]))
        assert positions <= 24
        assert len(tokens_of(running)) == step + 1
    assert harness.engine.stats.num_prefix_loads == 12
    harness.drain()
    check_all(harness)


def test_a_prefix_that_no_step_has_room_for_is_loaded_alone():
    """Else it would never be; what runs goes on beside it."""
    harness = EngineHarness(make_options(max_batch_tokens=16))
    running = harness.add(generate("running", max_tokens=9, ignore_eos=True))
    for number in range(3):
        prefix = make_prefix(number, 30)
        harness.add(generate(f"r{number}", text(9), task=f"t{number}", prefix=prefix, max_tokens=1))
    harness.steps(3)
    assert harness.runner.loads == [(30,)] * 3
    assert len(tokens_of(running)) == 3
    harness.drain()
    check_all(harness)


def test_a_load_is_charged_to_the_task_that_needs_it_and_only_once():
    """A task whose versions are always cold is served no more than others."""
    harness = EngineHarness()
    for number in range(2):
        harness.add(generate(f"r{number}", text(5), task="cold", prefix=make_prefix(1, 8), max_tokens=4))
    harness.add(generate("plain", text(5), task="plain", max_tokens=4))
    harness.steps(1)
    served = harness.scheduler.counters.served
    assert (served("cold"), served("plain")) == (8 + 5 + 5, 5)
    assert harness.runner.loads == [(8,)]
    harness.drain()
    check_all(harness)


def test_no_more_sequences_run_than_allowed():
    harness = EngineHarness(make_options(max_num_seqs=3))
    for number in range(10):
        harness.add(generate(f"r{number}", text(4, seed=number)))
    harness.steps(2)
    assert harness.engine.stats.num_running == 3
    assert harness.engine.stats.num_waiting == 7
    harness.drain()
    check_all(harness)


def test_a_waiting_sequence_holds_nothing():
    harness = EngineHarness(make_options(max_num_seqs=1, max_prefix_blocks=8))
    for number in range(6):
        harness.add(generate(f"r{number}", prefix=make_prefix(number, 8), task=f"t{number}"))
    harness.steps(1)
    assert harness.engine.stats.num_leases == 1
    assert harness.scheduler.residency.num_blocks == 2
    harness.drain()
    check_all(harness)


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
    in_idle = steps_to_first_token(idle, idle.add(generate("other", text(20, 99), task="other", prefix=prefix(2))))
    harness = EngineHarness(make_options(max_num_seqs=16))
    for number in range(64):
        harness.add(generate(f"r{number}", text(12, number), task="flood", prefix=prefix(1), max_tokens=40))
    harness.steps(10)
    other = harness.add(generate("other", text(20, 99), task="other", prefix=prefix(2)))
    assert steps_to_first_token(harness, other) <= in_idle + 2
    harness.drain()
    check_all(harness)


def test_a_flood_that_holds_all_blocks_makes_room_for_another_task():
    harness = EngineHarness(make_options(num_blocks=41, max_num_seqs=16))
    for number in range(64):
        harness.add(generate(f"r{number}", text(12, number), task="flood", max_tokens=40))
    harness.steps(15)
    assert harness.engine.stats.num_free_blocks < 8  # too few for the other's prompt
    other = harness.add(generate("other", text(32, 99), task="other"))
    assert steps_to_first_token(harness, other) <= 3
    assert harness.engine.stats.num_preemptions > 0
    harness.drain()
    check_all(harness)


def test_a_flood_whose_decodes_fill_the_token_budget_does_not_delay_another_task():
    """The smallest budget that leaves room beside a full batch of decodes: one token more than sequences."""
    harness = EngineHarness(make_options(max_num_seqs=4, max_batch_tokens=5))
    for number in range(20):
        harness.add(generate(f"r{number}", text(4, number), task="flood", max_tokens=60))
    harness.steps(40)
    other = harness.add(generate("other", text(4, 99), task="other"))
    assert steps_to_first_token(harness, other) <= 4


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
    check_all(harness)


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
    check_all(harness)


def test_a_large_request_is_not_starved_by_a_stream_of_small_ones_of_ever_new_tasks():
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


# --- out of blocks ----------------------------------------------------------------------------------------------------


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
    check_all(harness)


def test_a_preempted_sequence_comes_back_first_and_finds_its_blocks_in_the_cache():
    """Its recomputation starts from cached blocks, and its answer is the same."""
    harness = EngineHarness(make_options(num_blocks=17, max_prefix_blocks=2))
    for number in range(3):
        harness.add(generate(f"r{number}", text(16, number), max_tokens=24))
    harness.add(generate("late", text(4, 9), max_tokens=2))
    harness.drain()
    assert harness.engine.stats.num_preemptions > 0
    assert sum(map(sum, harness.runner.batches)) < 3 * 40 + 6 + harness.engine.stats.num_preemptions * 16
    check_all(harness)


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
    check_all(harness)


def test_forks_without_room_are_computed_later():
    """Eight choices of which hardly two fit: all answer, none fails for memory."""
    harness = EngineHarness(make_options(num_blocks=9, max_prefix_blocks=2))
    request = generate("r", text(15), num_choices=8, temperature=1.0, seed=3, max_tokens=12)
    harness.add(request)
    harness.drain()
    assert harness.engine.stats.num_preemptions > 0
    check_all(harness)


def test_a_request_that_fills_the_whole_cache_runs_alone():
    harness = EngineHarness(make_options(num_blocks=17, max_prefix_blocks=4))
    for number in range(4):
        harness.add(generate(f"small{number}", text(8, number), task="small", max_tokens=8))
    harness.add(generate("whole", text(47), task="whole", prefix=make_prefix(1, 5), max_tokens=8))
    harness.drain(most=300)
    check_all(harness)


# --- prefixes ---------------------------------------------------------------------------------------------------------


def test_resident_prefixes_keep_their_budget():
    harness = EngineHarness(make_options(max_prefix_blocks=6))
    for number in range(12):
        harness.add(generate(f"r{number}", task=f"t{number}", prefix=make_prefix(number, 5 + number % 4)))
    while harness.engine.has_work:
        harness.steps(1)
        assert harness.scheduler.residency.num_blocks <= 6
        harness.check_books()
    check_all(harness)


def test_a_prefix_stays_for_the_next_request():
    harness = EngineHarness()
    for number in range(3):
        harness.add(generate(f"r{number}", text(5, number), prefix=make_prefix(1, 6)))
        harness.drain()
    assert harness.engine.stats.num_prefix_loads == 1
    check_all(harness)


def test_two_hundred_tasks_with_room_for_twenty_prefixes_all_finish():
    """Each in a bounded number of steps; no request fails for it, and prefixes are computed again on demand."""
    harness = EngineHarness(make_options(num_blocks=121, max_prefix_blocks=40, max_num_seqs=32, max_batch_tokens=128))
    for turn in range(2):
        for number in range(200):
            name = f"{turn}/{number}"
            harness.add(generate(name, text(6, number), task=f"t{number}", prefix=make_prefix(number, 7), max_tokens=4))
    harness.drain(most=400)
    assert harness.engine.stats.num_prefix_loads >= 200
    check_all(harness)


def test_a_long_answer_gives_its_prefix_up_to_a_task_that_waits():
    """All leases are held by a long stream: far ahead as it is, it loses its turn to the newcomer."""
    harness = EngineHarness(make_options(max_prefix_blocks=2, fair_quantum=8))
    harness.add(generate("long", task="long", prefix=make_prefix(1, 8), max_tokens=80))
    harness.steps(5)
    other = harness.add(generate("other", task="other", prefix=make_prefix(2, 8)))
    assert steps_to_first_token(harness, other) < 40
    harness.drain()
    check_all(harness)


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
    check_all(harness)


# --- the prefix cache -------------------------------------------------------------------------------------------------


def test_equal_text_behind_one_prefix_is_computed_once():
    harness = EngineHarness()
    first = harness.add(generate("a", text(21), prefix=make_prefix(1, 6)))
    harness.drain()
    second = harness.add(generate("b", text(21), prefix=make_prefix(1, 6)))
    harness.drain()
    assert prompt_event(first).num_cached_tokens == 0
    assert prompt_event(second).num_cached_tokens == 18  # 6 virtual + 18 text tokens fill six blocks
    check_all(harness)


@pytest.mark.parametrize("other", [{"prefix": make_prefix(2, 6)}, {"prefix": None}, {"salt": b"other"}])
def test_equal_text_behind_another_prefix_or_salt_shares_nothing(other):
    harness = EngineHarness()
    harness.add(generate("a", text(21), prefix=make_prefix(1, 6)))
    harness.drain()
    second = harness.add(generate("b", text(21), **({"prefix": make_prefix(1, 6)} | other)))
    harness.drain()
    assert prompt_event(second).num_cached_tokens == 0
    check_all(harness)


def test_the_last_prompt_token_is_always_computed():
    """A prompt that is cached to its end still needs a row of logits."""
    harness = EngineHarness()
    for name in ("a", "b"):
        events = harness.add(generate(name, text(16), max_tokens=1))
        harness.drain()
    assert prompt_event(events).num_cached_tokens == 12
    check_all(harness)


def test_output_is_cached_for_the_next_turn_of_a_conversation():
    harness = EngineHarness()
    first = harness.add(generate("a", text(10), max_tokens=11))
    harness.drain()
    second = harness.add(generate("b", text(10) + tokens_of(first) + (1, 2)))
    harness.drain()
    assert prompt_event(second).num_cached_tokens == 20  # the last token sampled was never computed
    check_all(harness)


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
    check_all(harness)


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
    check_all(harness)
