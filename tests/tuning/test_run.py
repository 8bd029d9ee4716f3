"""A run as a whole: it learns, it stops, it goes on after a kill, and PEFT loads what it leaves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.engine.paged.engine import Engine
from server.engine.paged.options import EngineOptions
from server.engine.thread.async_engine import AsyncEngine
from server.model.attention_backend import choose_backend
from server.model.base_model import LoadedModel
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.candidate import unpublished
from server.tuning.errors import CheckpointUnreadable, ExamplesRefused, PlanRefused, TuningDiverged
from server.tuning.evaluation import evaluate
from server.tuning.events import Extended, Finished, RateChosen, RateTried, StepDone, Validated, event_to_json
from server.tuning.examples import read_examples
from server.tuning.job import TuningJob
from server.tuning.models.prompt_values import initial_ids
from server.tuning.plan import Defaults, Initialisation, Method, Optimizer, TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import tuning_data
from tests.fakes.tokenizers import FAMILIES, byte_level, sentencepiece
from tests.tuning.tiny import MANIFEST, jsonl, tiny_base, tiny_job, tiny_model

PLAN = TuningPlan(num_steps=6, batch_size=4, max_micro_batch_tokens=64, validate_every=2)


def run_of(job: TuningJob, checkpoint: bytes | None = None, memory_bytes: int | None = None) -> TuningRun:
    return TuningRun(tiny_model(), byte_level(), job, checkpoint, memory_bytes=memory_bytes)


def finish(run: TuningRun) -> TuningRun:
    while not run.is_done:
        run.advance()
    return run


def engine_of(loaded: LoadedModel) -> AsyncEngine:
    options = EngineOptions(40, 8, 10, 4, 64, 100, 96, loaded.architecture.vocab_size, frozenset())
    cache = KVCache(loaded.architecture.layers, 40, 8, loaded.dtype, loaded.device)
    return AsyncEngine(Engine(ModelRunner(loaded, cache, choose_backend(loaded.device)), options), options)


def digest(run: TuningRun) -> str:
    result = run.result()
    return hashlib.sha256(result.config + result.tensors).hexdigest()


def test_a_run_learns_an_easy_task():
    """The loss on examples that were held out falls by far."""
    run = finish(run_of(tiny_job(TuningPlan(num_steps=60, batch_size=8, learning_rate=0.1))))
    validations = [event for event in run.history if isinstance(event, Validated)]
    assert min(event.loss for event in validations) < validations[0].loss / 2
    assert isinstance(run.history[-1], Finished)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_the_same_job_ends_the_same_wherever_it_is_cut(method, optimizer):
    """A checkpoint after any piece, in a step, a validation or the sweep, leads to the same bytes."""
    plan = replace(PLAN, method=method, optimizer=optimizer, learning_rate="auto", num_steps=4)
    job = tiny_job(plan)
    whole = finish(run_of(job))
    pieces, run = 0, run_of(job)
    checkpoints = []
    while not run.is_done:
        run.advance()
        pieces += 1
        if pieces % 9 == 0:
            checkpoints.append(run.checkpoint())
    assert digest(run) == digest(whole)
    for checkpoint in (checkpoints[0], checkpoints[len(checkpoints) // 2], checkpoints[-1]):
        resumed = finish(run_of(job, checkpoint))
        assert digest(resumed) == digest(whole)
        assert resumed.history == whole.history


def test_a_run_that_goes_on_ends_the_same_wherever_it_is_cut():
    """Also between two extensions: the checkpoint says how many there were."""
    plan = TuningPlan(num_steps=12, batch_size=8, learning_rate=0.1, validate_every=2, max_extensions=2)
    job = tiny_job(plan)
    run, checkpoints = run_of(job), []
    while not run.is_done:
        checkpoints += [run.checkpoint()] if any(isinstance(event, Extended) for event in run.advance()) else []
    assert [event for event in run.history if isinstance(event, Extended)] == [Extended(12, 18), Extended(18, 24)]
    assert (run.step, run.num_steps, len(checkpoints)) == (24, 24, 2)
    for checkpoint in checkpoints:
        resumed = finish(run_of(job, checkpoint))
        assert digest(resumed) == digest(run)
        assert resumed.history == run.history


@pytest.mark.parametrize("method", Method)
def test_a_state_has_the_parameters_once_and_two_matrices(method):
    """An encoder takes hundreds of megabytes: beside it only the optimiser's moments, and what is published of it."""
    run = run_of(tiny_job(replace(PLAN, method=method)))
    while run.step < 3:
        run.advance()
    num_values = sum(parameter.numel() for parameter in run._prompt.parameters)
    num_saved = sum(tensor.numel() for tensor in load(run.checkpoint()).values())
    num_counts = len(run._prompt.parameters)
    assert num_saved == 3 * num_values + 2 * run._prompt.matrix().numel() + num_counts


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("num_steps", [0, 3], ids=["in the sweep", "after three steps"])
def test_a_state_of_the_form_before_is_gone_on_from(method, num_steps):
    """It had the parameters of the beginning and of the best step, where their matrices now are."""
    job = tiny_job(replace(PLAN, method=method, learning_rate="auto"))
    run = run_of(job)
    initial = best = run._trainer.values()
    run.advance()
    while run.step < num_steps:
        if any(isinstance(event, Validated) and event.is_best for event in run.advance()):
            best = run._trainer.values()
    resumed = finish(run_of(job, in_the_form_before(run.checkpoint(), initial=initial, best=best)))
    whole = finish(run_of(job))
    assert digest(resumed) == digest(whole)
    assert resumed.history == whole.history


def in_the_form_before(checkpoint: bytes, **values: list[torch.Tensor]) -> bytes:
    """A state as commit 4b55c5e wrote it."""
    header = json.loads(checkpoint[8 : 8 + int.from_bytes(checkpoint[:8], "little")])["__metadata__"]
    tensors = {name: tensor for name, tensor in load(checkpoint).items() if name not in values}
    for kind, found in values.items():
        tensors |= {f"{kind}.{index}": value.clone() for index, value in enumerate(found)}
    return save(tensors, header | {"format": "softprompt tuning 2"})


def test_the_digest_of_a_job_is_the_one_it_always_had():
    """It is written into the states of unfinished jobs: with another one they would begin anew."""
    plan = replace(PLAN, defaults=Defaults.FIRST)
    assert run_of(tiny_job(plan))._digest == "9afa2af2fcde91b83712e3786dc7659f1c8c9ecf7d55cd5bb23e50826aebc64e"


@pytest.mark.parametrize("method", Method)
def test_a_run_resumes_with_less_memory_and_ends_the_same(method):
    """Kept activations and recomputed ones are the same, bit for bit."""
    job = tiny_job(replace(PLAN, method=method))
    run = run_of(job)
    while run.step < 3:
        run.advance()
    checkpoint = run.checkpoint()
    kept = digest(finish(run))
    assert kept == digest(finish(run_of(job, checkpoint, 0))) == digest(finish(run_of(job, memory_bytes=0)))


def test_the_process_keeps_its_random_state():
    """A run draws from its own seed only."""
    run_of(tiny_job(PLAN))  # the fake base model, which is made once, seeds the process
    torch.manual_seed(7)
    before = torch.get_rng_state()
    finish(run_of(tiny_job(PLAN)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("initialisation", Initialisation)
def test_our_own_strict_reader_takes_what_peft_saved(method, initialisation):
    """Each method and initialisation ends in a checkpoint that can be published."""
    plan = replace(PLAN, method=method, initialisation=initialisation, init_text="is it a vowel", num_steps=1)
    result = finish(run_of(tiny_job(plan))).result()
    checkpoint = read_checkpoint(
        result.config,
        result.tensors,
        tiny_base(),
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
    assert checkpoint.peft_type.value == method.value
    assert checkpoint.num_virtual_tokens == plan.num_virtual_tokens


def test_pieces_are_bounded():
    """No micro-batch has more positions than the plan allows, virtual tokens included."""
    run = run_of(tiny_job(replace(PLAN, num_virtual_tokens=4)))
    for batch in run._trainer._model.batches(run._training):
        assert 4 + sum(batch.lengths) == 4 + len(batch.token_ids) <= 64


def test_every_step_is_told_with_what_to_watch():
    """Loss, gradient norm, update ratio and distance are finite and positive; the distance grows from nothing."""
    run = finish(run_of(tiny_job(PLAN)))
    steps = [event for event in run.history if isinstance(event, StepDone)]
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert all(min(step.loss, step.grad_norm, step.update_ratio, step.distance) > 0 for step in steps)


@pytest.mark.parametrize("method", Method)
def test_a_multiplier_multiplies_the_default_rate(method):
    """Of each method; what the run says of itself has both."""
    plain, tripled = (
        finish(run_of(tiny_job(replace(PLAN, method=method, num_steps=1, learning_rate_multiplier=multiplier))))
        for multiplier in (None, 3.0)
    )
    assert tripled.result().metrics["learning_rate"] == pytest.approx(3 * plain.result().metrics["learning_rate"])
    assert tripled.result().metrics["learning_rate_multiplier"] == 3.0


def test_auto_tries_several_rates_and_keeps_the_best():
    """The chosen rate is the tried one of the lowest loss, and each try begins anew."""
    run = finish(run_of(tiny_job(replace(PLAN, learning_rate="auto"))))
    tried = [event for event in run.history if isinstance(event, RateTried)]
    (chosen,) = [event for event in run.history if isinstance(event, RateChosen)]
    assert len(tried) == 4
    assert chosen.learning_rate == min(tried, key=lambda one: one.loss).learning_rate


def test_a_run_that_gets_no_better_ends_early():
    """With a rate of next to nothing, validation stands still and patience runs out."""
    plan = TuningPlan(num_steps=50, batch_size=4, learning_rate=1e-12, validate_every=1, patience=3)
    run = finish(run_of(tiny_job(plan)))
    assert run.step < 50
    assert run.history[-1] == Finished(run.step, "early_stop", run.result().best_step)


def test_no_number_is_told_that_json_has_no_word_for():
    """Virtual tokens overflow while the loss is still finite, since the model normalises what it is given."""
    run = run_of(tiny_job(TuningPlan(num_steps=50, batch_size=4, learning_rate=100, weight_decay=1, validate_every=50)))
    with pytest.raises(TuningDiverged):
        finish(run)
    assert run.step > 5
    json.dumps([event_to_json(event) for event in run.history], allow_nan=False)


def test_an_example_over_the_context_is_refused_with_its_line():
    """What does not fit beside the virtual tokens is said before anything is trained."""
    with pytest.raises(ExamplesRefused, match=r"line 1: has \d+ tokens") as caught:
        run_of(tiny_job(replace(PLAN, num_virtual_tokens=90)))
    assert caught.value.code == "example_too_long"


def test_a_checkpoint_of_another_job_or_a_damaged_one_is_refused():
    """Resuming never mixes two jobs."""
    run = run_of(tiny_job(PLAN))
    run.advance()
    checkpoint = run.checkpoint()
    with pytest.raises(CheckpointUnreadable, match="another job"):
        run_of(tiny_job(replace(PLAN, seed=1)), checkpoint)
    for damaged in (b"", b"nonsense", checkpoint[:-1], checkpoint[:100]):
        with pytest.raises(CheckpointUnreadable):
            run_of(tiny_job(PLAN), damaged)


@pytest.mark.parametrize("family", FAMILIES)
async def test_what_was_learnt_to_the_letter_is_served_to_the_letter(family):
    """The run's own score is of token ids, the evaluation's of served texts: whatever the tokenizer, they agree."""
    tokenizer = FAMILIES[family]
    loaded, end = tiny_model(tokenizer.vocab_size), tokenizer.eos_token_id
    data = tuning_data(read_examples(jsonl(*[{"prompt": f"a{n}", "completion": "yes"} for n in range(30)])))
    job = tiny_job(TuningPlan(num_steps=20, batch_size=8, learning_rate=0.3), data=data, end_token_id=end)
    run = finish(TuningRun(loaded, tokenizer, job))
    result = run.result()
    checkpoint = read_checkpoint(
        result.config,
        result.tensors,
        tiny_base(),
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
    engine = engine_of(loaded)
    async with engine.running():
        candidate = unpublished("mood", "mood", checkpoint, MANIFEST, tiny_base())
        scores = await evaluate(engine, tokenizer, candidate, data.validation, end_token_id=end)
    assert scores.exact_match == result.metrics["validation_exact_match"] == 1


ROWS = sentencepiece(lacks_rows=True).num_ids


def run_without_rows(**changes) -> TuningRun:
    """A run whose tokenizer knows more tokens than its base model has rows for."""
    tokenizer = sentencepiece(lacks_rows=True)
    return TuningRun(tiny_model(ROWS), tokenizer, tiny_job(**{"plan": PLAN, "end_token_id": 2, **changes}))


def test_virtual_tokens_begin_at_rows_that_the_base_model_has():
    """However many tokens the tokenizer knows besides."""
    finish(run_without_rows(plan=replace(PLAN, num_virtual_tokens=64, num_steps=1)))


def test_rows_are_sampled_as_ever_where_the_base_model_has_all():
    """Padding behind the vocabulary is never sampled: the same seed begins with the same ids."""
    plan, tokenizer = replace(PLAN, num_virtual_tokens=6), sentencepiece()
    assert initial_ids(plan, tokenizer, ()) == [249, 224, 125, 78, 152, 121]
    padded = Tokenizer(tokenizer._pretrained, num_rows=tokenizer.vocab_size + 64)
    assert initial_ids(plan, padded, ()) == initial_ids(plan, tokenizer, ())


@pytest.mark.parametrize("row", [{"prompt": "[PAD]", "completion": "a"}, {"prompt": "a", "completion": "<new7>"}])
def test_an_example_without_a_row_is_refused_with_its_line(row):
    """Before anything is trained, in an input and in an answer."""
    data = tuning_data(read_examples(jsonl(*[{"prompt": f"{n}", "completion": "b"} for n in range(20)], row)))
    with pytest.raises(ExamplesRefused, match="line 21: the text holds token id") as caught:
        run_without_rows(data=data)
    assert caught.value.code == "token_out_of_range"


def test_a_text_to_begin_with_that_has_no_row_is_refused():
    with pytest.raises(PlanRefused, match="init_text cannot be begun with: the text holds token id") as caught:
        run_without_rows(plan=replace(PLAN, initialisation=Initialisation.TEXT, init_text="a [PAD]"))
    assert caught.value.param == "init_text"
