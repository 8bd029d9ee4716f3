"""A whole distillation on a tiny base model: learning, resumption and figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.tuning.distillation.answers import with_answers
from server.tuning.distillation.inputs import read_inputs
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.errors import CheckpointUnreadable, TeacherSilent
from server.tuning.events import Validated
from server.tuning.plan import Initialisation, Method, TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import Split, tuning_data
from server.tuning.teaching import Answer, Distillation
from tests.fakes.tokenizers import byte_level
from tests.tuning.tiny import tiny_job, tiny_model

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

INSTRUCTION = "Say yes or no:"
PLAN = TuningPlan(
    method=Method.PREFIX_TUNING,
    initialisation=Initialisation.TEXT,
    init_text="Say",
    num_virtual_tokens=3,
    num_steps=12,
    batch_size=8,
    validate_every=6,
)


def job_of(plan: TuningPlan = PLAN):
    """A job with answers: what they say is no matter, the teacher's distributions are what is learnt."""
    content = "".join(f"{'ao'[number % 2]} {number}\n" for number in range(16)).encode()
    data = tuning_data(read_inputs(content, is_text=True), split=Split.RANDOM)
    job = tiny_job(plan, data=data, distillation=Distillation(INSTRUCTION, 4))
    inputs = [str(one.prompt) for one in (*data.training, *data.validation)]
    return with_answers(job, {text: Answer((60 + len(text), 61), "x") for text in inputs})


def advance(run: TuningRun, to_step: int | None = None) -> list:
    events = []
    while not run.is_done and run.step != to_step:
        events += run.advance()
    return events


def test_a_student_comes_nearer_to_its_teacher():
    """The metrics have the divergence before and after, and the tokens that a request saves."""
    run = TuningRun(tiny_model(), byte_level(), job_of())
    validations = [event for event in advance(run) if isinstance(event, Validated)]
    metrics = run.result().metrics
    assert metrics["divergence"] < 0.9 * metrics["divergence_at_start"]
    assert metrics["divergence"] == min(event.loss for event in validations), "the best is the one with the least"
    assert 0 <= metrics["agreement_at_start"] <= 1
    assert metrics["prompt_tokens_before"] - metrics["prompt_tokens_after"] == pytest.approx(
        len(byte_level().encode(INSTRUCTION)), abs=1
    )
    saved = metrics["prompt_tokens_before"] - metrics["prompt_tokens_after"] - 3
    assert metrics["tokens_saved"] == pytest.approx(saved, abs=0.1)
    assert "validation_exact_match" not in metrics


def test_a_resumed_run_ends_as_one_that_never_stopped():
    """Bit for bit; its state has the answers too."""
    job = job_of()
    whole = TuningRun(tiny_model(), byte_level(), job)
    advance(whole)
    first = TuningRun(tiny_model(), byte_level(), job)
    advance(first, to_step=5)
    state = first.checkpoint()
    assert unpack_state(state).answers == job.answers
    resumed = TuningRun(tiny_model(), byte_level(), job, state)
    assert resumed.step == 5
    advance(resumed)
    assert resumed.result().tensors == whole.result().tensors


def test_a_run_begins_from_answers_alone_and_refuses_those_of_another():
    """A state before the first step has answers only; one with a run has its job's digest."""
    job = job_of()
    run = TuningRun(tiny_model(), byte_level(), job, pack_state(DistillationState(job.answers)))
    assert run.step == 0
    advance(run, to_step=1)
    other = replace(job, answers={text: Answer((70,), "y") for text in job.answers})
    with pytest.raises(CheckpointUnreadable):
        TuningRun(tiny_model(), byte_level(), other, run.checkpoint())
    with pytest.raises(CheckpointUnreadable):
        unpack_state(b"\x04\0\0\0\0\0\0\0null")


def test_a_teacher_that_says_nothing_teaches_nothing():
    """One answer is enough; empty ones are counted."""
    job = job_of()
    silent = dict.fromkeys(job.answers, Answer((0,), " "))
    with pytest.raises(TeacherSilent, match="answers nothing to any of the 16 inputs"):
        with_answers(job, silent)
    one = {**silent, next(iter(silent)): Answer((60,), "x")}
    assert sum(not example.completion.strip() for example in with_answers(job, one).data.training) >= 13
