"""Runs of heads and of encoder-decoders: they learn, they go on after a kill, and PEFT loads what they leave."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load

from prompts_store.checkpoint_records import TaskType
from server.tuning.errors import ExamplesRefused
from server.tuning.events import Validated
from server.tuning.plan import Method, Optimizer, TuningPlan
from server.tuning.run import TuningRun
from tests.fakes.tokenizers import byte_level
from tests.tuning.heads import learner
from tests.tuning.tiny import MANIFEST, tiny_job

ENCODER_DECODERS = ["t5-gated", "bart"]
LABELLED = replace(MANIFEST, labels=("yes", "no"))
PLAN = TuningPlan(num_steps=6, batch_size=4, max_micro_batch_tokens=96, validate_every=2, task_type=TaskType.SEQ_CLS)


def plan_of(architecture: str, **changes) -> TuningPlan:
    return replace(PLAN, task_type=None if architecture in ENCODER_DECODERS else TaskType.SEQ_CLS, **changes)


def run_of(architecture: str, plan: TuningPlan, checkpoint: bytes | None = None) -> TuningRun:
    manifest = LABELLED if plan.has_head else MANIFEST
    return TuningRun(learner(architecture), byte_level(), tiny_job(plan, manifest=manifest), checkpoint)


def finish(run: TuningRun) -> TuningRun:
    while not run.is_done:
        run.advance()
    return run


def digest(run: TuningRun) -> str:
    result = run.result()
    return hashlib.sha256(result.config + result.tensors).hexdigest()


def validations_of(run: TuningRun) -> list[Validated]:
    return [event for event in run.history if isinstance(event, Validated)]


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        *[("bert", method) for method in Method if method is not Method.CARTRIDGE],
        *[("llama", method) for method in Method],
        ("roberta", Method.PROMPT_TUNING),
        ("gpt2", Method.PREFIX_TUNING),
    ],
)
def test_a_head_learns_an_easy_task_at_the_default_rate(architecture, method):
    """All held-out examples are right after thirty steps, whatever the method."""
    plan = plan_of(architecture, method=method, num_steps=30, batch_size=8, validate_every=15, warmup_steps=4)
    validations = validations_of(finish(run_of(architecture, plan)))
    assert validations[-1].exact_match == validations[-1].token_accuracy == 1
    assert validations[-1].loss < 0.6 < validations[0].loss


@pytest.mark.parametrize("method", [method for method in Method if method is not Method.CARTRIDGE])
@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_an_encoder_decoder_learns(architecture, method):
    """The loss on examples that were held out falls by far."""
    plan = plan_of(architecture, method=method, num_steps=30, batch_size=8, validate_every=15, learning_rate=0.1)
    validations = validations_of(finish(run_of(architecture, plan)))
    assert validations[-1].loss < 0.7 * validations[0].loss


@pytest.mark.parametrize(("method", "learning_rate"), [(Method.PROMPT_TUNING, 0.3), (Method.PREFIX_TUNING, 0.1)])
def test_an_encoder_decoder_answers_an_easy_task(method, learning_rate):
    """Held-out answers are right to the last token, of which none was at the start."""
    rest = {"batch_size": 16, "max_micro_batch_tokens": 512, "validate_every": 20}
    run = finish(
        run_of("t5-gated", plan_of("t5-gated", method=method, num_steps=80, learning_rate=learning_rate, **rest))
    )
    exact = [one.exact_match for one in validations_of(run)]
    assert exact[0] == 0 and max(exact) == 1


@pytest.mark.parametrize(
    ("architecture", "method", "optimizer"),
    [
        ("bert", Method.PROMPT_TUNING, Optimizer.ADAFACTOR),
        ("bert", Method.PREFIX_TUNING, Optimizer.ADAMW),
        ("gpt2", Method.P_TUNING, Optimizer.ADAMW),
        ("t5-gated", Method.PROMPT_TUNING, Optimizer.ADAMW),
        ("bart", Method.PREFIX_TUNING, Optimizer.ADAMW),
    ],
)
def test_the_same_job_ends_the_same_wherever_it_is_cut(architecture, method, optimizer):
    """A checkpoint after any piece, in a step, a validation or the sweep, leads to the same bytes, those of the head
    included."""
    plan = plan_of(architecture, method=method, optimizer=optimizer, learning_rate="auto", num_steps=3)
    whole = finish(run_of(architecture, plan))
    pieces, run = 0, run_of(architecture, plan)
    checkpoints = []
    while not run.is_done:
        run.advance()
        pieces += 1
        if pieces % 11 == 0:
            checkpoints.append(run.checkpoint())
    assert digest(run) == digest(whole)
    for checkpoint in (checkpoints[0], checkpoints[-1]):
        resumed = finish(run_of(architecture, plan, checkpoint))
        assert digest(resumed) == digest(whole)
        assert resumed.history == whole.history


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5-gated"])
def test_a_run_with_less_memory_learns_the_same(architecture):
    """Layers that are recomputed give the same numbers, bit for bit."""
    plan = plan_of(architecture, num_steps=2)
    manifest = LABELLED if plan.has_head else MANIFEST
    job = tiny_job(plan, manifest=manifest)
    kept, computed_again = (
        finish(TuningRun(learner(architecture), byte_level(), job, memory_bytes=memory)) for memory in (None, 0)
    )
    assert digest(kept) == digest(computed_again)


def test_the_best_head_is_the_result():
    """That of the best validation, together with its soft prompt, though the run went on."""
    plan = plan_of(
        "bert", num_steps=12, batch_size=8, validate_every=4, learning_rate=3.0, warmup_steps=0, patience=None
    )
    run = finish(run_of("bert", plan))
    best = next(event for event in run.history if isinstance(event, Validated) and event.step == run.result().best_step)
    run._trainer.set_values([*run._prompt.prompt_parameters, *run._matrices.best_head])
    saved = load(run.result().tensors)
    assert torch.equal(saved["base_model.classifier.weight"], run._matrices.best_head[0])
    assert torch.equal(saved["prompt_embeddings"], run._matrices.best)
    assert best.is_best


def test_a_head_of_the_base_model_of_the_same_size_is_where_a_run_begins():
    """Read from the files of the base model; of another size it is not used."""
    weight = torch.full((2, 32), 0.5)

    class Held:
        def held(self, name: str, backbone: str) -> torch.Tensor | None:
            return {"classifier.weight": weight, "classifier.bias": torch.zeros(3)}.get(name)

    run = TuningRun(learner("bert"), byte_level(), tiny_job(PLAN, manifest=LABELLED), heads=Held())
    found, bias = run._prompt.head_values()
    assert torch.equal(found, weight)
    assert bias.shape == (2,) and not bias.any()


def test_an_answer_that_is_no_label_is_refused_with_its_line():
    """Before anything is trained."""
    manifest = replace(LABELLED, labels=("yes", "maybe"))
    with pytest.raises(ExamplesRefused, match="line 2: the answer is none of the job's labels") as caught:
        TuningRun(learner("bert"), byte_level(), tiny_job(PLAN, manifest=manifest))
    assert caught.value.code == "unknown_label"
