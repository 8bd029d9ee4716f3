"""A job whose inputs the base model completes itself, before and after it has written them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.document import chunks_of
from server.tuning.distillation.inputs import read_inputs
from server.tuning.distillation.questions import QuestionWriter
from server.tuning.distillation.self_study import MAX_INPUT_TOKENS, InputWriter, Writer, different
from server.tuning.distillation.teacher import Teacher
from server.tuning.errors import StudyFailed
from server.tuning.example_line import Example, ExampleForm
from server.tuning.examples import ExampleSet
from server.tuning.job import TuningJob
from server.tuning.split import Split, TuningData, tuning_data
from server.tuning.teaching import MIN_INPUTS

_ASKS_OF_CHATS = (
    None,
    "Write one message that a user may send you. Write the message alone.",
    "Write one short question that a user may ask you. Write the question alone.",
)
NO_INPUTS = ExampleSet(ExampleForm.COMPLETION, (), (), hashlib.sha256().hexdigest())
"""The content of no file, where the base model writes all inputs."""


def before_study(given: ExampleSet = NO_INPUTS, validation: ExampleSet | None = None) -> TuningData:
    """The inputs that somebody gives, perhaps none. Nothing is held out of them yet."""
    notes = (*given.notes, *(() if validation is None else validation.notes))
    held_out, digest = ((), None) if validation is None else (validation.examples, validation.digest)
    return TuningData(given.examples, held_out, (), given.digest, notes, digest)


def num_to_write(job: TuningJob) -> int:
    """Number of inputs that the base model is to write for a job; 0 without self-study."""
    if job.distillation is None or job.distillation.num_inputs is None:
        return 0
    return max(0, job.distillation.num_inputs - len(job.data.training))


def writer_of(job: TuningJob, tokenizer: Tokenizer, max_context: int) -> Writer:
    """The author of a job's inputs, which leaves room in the context for the teacher's answer."""
    assert job.distillation is not None
    if job.distillation.is_document:
        chunks = chunks_of(job.distillation.instruction, tokenizer)
        return QuestionWriter(tokenizer, job.manifest, chunks, job.plan.seed)
    shortest = Teacher(tokenizer, job.manifest, job.distillation).prompt(Example("a", "", 1))
    room = max_context - job.distillation.max_answer_tokens - len(shortest)
    return InputWriter(
        tokenizer,
        job.manifest,
        job.distillation.instruction,
        asks=_ASKS_OF_CHATS if job.manifest.chat_template else (None,),
        seed=job.plan.seed,
        max_tokens=max(1, min(MAX_INPUT_TOKENS, room * 3 // 4)),
    )


def with_inputs(job: TuningJob, drafts: Mapping[int, str]) -> TuningJob:
    """The job with its own inputs and those written; a part is held out. Raises `StudyFailed` for too few."""
    given = [str(example.prompt) for example in job.data.training]
    inputs = list(dict.fromkeys((*given, *different(drafts, num_to_write(job)))))
    if len(inputs) < MIN_INPUTS:
        message = f"there are {len(inputs)} different inputs after {len(drafts)} drafts of the base model, and a"
        assert job.distillation is not None
        advice = "give it a longer text in English" if job.distillation.is_document else "give it a file of inputs"
        raise StudyFailed(f"{message} distillation needs {MIN_INPUTS}: {advice}")
    training = read_inputs("".join(json.dumps({"text": text}) + "\n" for text in inputs).encode(), is_text=False)
    validation = None
    if job.data.validation_digest is not None:
        validation = ExampleSet(ExampleForm.COMPLETION, job.data.validation, (), job.data.validation_digest)
    data = tuning_data(training, validation, job.plan.seed, Split.RANDOM)
    manifest = replace(job.manifest, training_data_digest=data.digest)
    return replace(job, data=data, manifest=manifest, drafts=drafts)
