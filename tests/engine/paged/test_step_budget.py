"""The budget of a step: tokens, rows of logits, sequences and prefix loads."""

from __future__ import annotations

from server.engine.request import Request, Score
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text, tokens_of
from tests.engine.paged.scripted_runner import make_prefix


def test_a_long_prompt_is_computed_in_chunks_of_the_token_budget():
    harness = EngineHarness(make_options(max_batch_tokens=16))
    harness.add(generate("r", text(40), max_tokens=2))
    harness.drain()
    assert harness.runner.batches == [(16,), (16,), (8,), (1,)]
    harness.check_all()


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
    harness.check_all()


def test_scored_prompts_share_the_rows_of_logits_of_a_step():
    """A row each, and what there is besides to whoever comes first; a prompt that is not scored needs no more."""
    harness = EngineHarness(make_options(max_scored_rows=9))
    harness.add(generate("first", text(30), prompt_logprobs=2, max_tokens=1))
    harness.add(generate("second", text(20, 1), prompt_logprobs=2, max_tokens=1))
    harness.add(generate("plain", text(25, 2), max_tokens=1))
    harness.steps(2)
    assert harness.runner.batches == [(10, 1, 25), (10, 1)]
    harness.drain()
    harness.check_all()


def test_continuations_that_are_scored_share_the_rows_of_logits_of_a_step():
    harness = EngineHarness(make_options(max_scored_rows=4))
    harness.add(Request("s", "", text(20), Score((text(9, 1), text(8, 2), text(7, 3)))))
    harness.steps(2)
    assert harness.runner.batches == [(20,), (5, 1, 1)]
    harness.drain()
    harness.check_all()


def test_several_short_prompts_share_a_step():
    harness = EngineHarness(make_options(max_batch_tokens=16))
    for number in range(5):
        harness.add(generate(f"r{number}", text(4, seed=number), task=f"t{number}"))
    harness.steps(1)
    assert harness.runner.batches == [(4, 4, 4, 4)]


def test_cold_prefixes_are_loaded_within_the_token_budget():
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
    harness.check_all()


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
    harness.check_all()


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
    harness.check_all()


def test_no_more_sequences_run_than_allowed():
    harness = EngineHarness(make_options(max_num_seqs=3))
    for number in range(10):
        harness.add(generate(f"r{number}", text(4, seed=number)))
    harness.steps(2)
    assert harness.engine.stats.num_running == 3
    assert harness.engine.stats.num_waiting == 7
    harness.drain()
    harness.check_all()


def test_a_waiting_sequence_holds_nothing():
    harness = EngineHarness(make_options(max_num_seqs=1, max_prefix_blocks=8))
    for number in range(6):
        harness.add(generate(f"r{number}", prefix=make_prefix(number, 8), task=f"t{number}"))
    harness.steps(1)
    assert harness.engine.stats.num_leases == 1
    assert harness.scheduler.residency.num_blocks == 2
    harness.drain()
    harness.check_all()
