"""The teacher's answers: greedy, one per input, written by the engine that serves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from server.answering.choice_text import TextDelta
from server.answering.generation import Generation
from server.engine.client import RequestRunner
from server.engine.events import FinishReason
from server.engine.request import Generate, Request
from server.tokenizer.template import PromptForm, is_continued
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.teacher import Teacher
from server.tuning.errors import TeacherSilent
from server.tuning.evaluation import ask_all
from server.tuning.example_line import Example
from server.tuning.job import TuningJob
from server.tuning.notes import Note, warning
from server.tuning.teaching import Answer

OnAnswer = Callable[[str, Answer], object]
"""Gets an input and its answer."""


async def write_answers(
    engine: RequestRunner,
    teacher: Teacher,
    examples: Iterable[Example],
    on_answer: OnAnswer,
    on_progress: Callable[[int], object] = lambda num_done: None,
) -> None:
    """Let the teacher answer these inputs, and hand over each answer as it comes.

    Raises `EvaluationFailed`, `EngineStopped`, and what `on_progress` raises.
    """

    async def ask(example: Example) -> None:
        request = teacher.request(teacher.prompt(example), f"distil-{uuid.uuid4().hex}")
        on_answer(str(example.prompt), await answer_to(engine, teacher, request))

    asks = [partial(ask, example) for example in examples]
    await ask_all(asks, "the teacher", on_progress=on_progress)


def unanswered(job: TuningJob, answers: Mapping[str, Answer]) -> list[Example]:
    """The inputs of a job that have no answer yet, in its order."""
    return [example for example in (*job.data.training, *job.data.validation) if example.prompt not in answers]


def with_answers(job: TuningJob, answers: Mapping[str, Answer]) -> TuningJob:
    """The job with the teacher's answers as completions. Raises `TeacherSilent` if all of them are empty."""
    if not any(answer.text.strip() for answer in answers.values()):
        message = f"the teacher answers nothing to any of the {len(answers)} inputs: try the instruction with an input"
        raise TeacherSilent(f"{message} in /v1/completions first")
    training, validation = (
        tuple(replace(example, completion=answers[str(example.prompt)].text) for example in examples)
        for examples in (job.data.training, job.data.validation)
    )
    data = replace(job.data, training=training, validation=validation)
    return replace(job, data=data, answers=answers)


def notes_on(answers: Mapping[str, Answer], max_answer_tokens: int) -> list[Note]:
    """Notes on answers that are empty or cut off."""
    notes = []
    if num_empty := sum(not answer.text.strip() for answer in answers.values()):
        notes.append(warning(f"the teacher answers nothing to {num_empty} of {len(answers)} inputs"))
    if num_cut := sum(answer.is_cut for answer in answers.values()):
        message = f"{num_cut} of {len(answers)} answers are cut off after {max_answer_tokens} tokens"
        notes.append(warning(f"{message} (max_answer_tokens)"))
    return notes


async def answer_to(engine: RequestRunner, teacher: Teacher, request: Request[Generate]) -> Answer:
    """The answer to a request of a teacher, or of its student. Raises `EngineError`."""
    continued = is_continued(PromptForm.TEXT, has_prompt_form=teacher.manifest.has_prompt_form)
    return await text_of(engine, teacher.tokenizer, request, teacher.manifest.stop, is_continued=continued)


async def text_of(
    engine: RequestRunner, tokenizer: Tokenizer, request: Request[Generate], stop: Sequence[str], *, is_continued: bool
) -> Answer:
    """What the engine writes for one request of one choice. Raises `EngineError`."""
    generation = Generation(engine, tokenizer, [request], is_continued=is_continued, stop=stop)
    generation.start()
    token_ids: list[int] = []
    text, is_cut = "", False
    try:
        async for event in generation:
            if isinstance(event, TextDelta):
                token_ids += event.token_ids
                text += event.text
                is_cut = event.finish_reason is FinishReason.LENGTH
    finally:
        generation.close()
    return Answer(tuple(token_ids), text, is_cut)
