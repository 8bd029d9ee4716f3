"""Prepare a job: read its files, and check them against its request and this server. Slow: call it in a thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from prompts_store.manifest import Manifest
from prompts_store.tuning_records import JobRecord, NewEvent
from prompts_store.tuning_store import TuningStore
from server.jobs.event_texts import note_event, preview_event
from server.jobs.failures import FileRefused, OwnedTasks, TaskTaken, task_owned
from server.jobs.request import JobRequest, request_from_json
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.inputs import is_plain_text, read_inputs
from server.tuning.distillation.plan import version_defaults
from server.tuning.distillation.studied import before_study
from server.tuning.distillation.teacher import Teacher
from server.tuning.encoding import EncodedExample, PreviewToken, encode_completion, encode_examples, preview
from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import Example, ExampleForm, Reading, parse_line
from server.tuning.examples import ExampleLimits, ExampleSet, read_examples
from server.tuning.fit import Host
from server.tuning.job import TuningJob
from server.tuning.plan import TuningPlan
from server.tuning.split import Split, TuningData, tuning_data
from server.tuning.survival import notes_on_answers
from server.tuning.task_choice import answer_form, check_classes, check_labels
from server.tuning.teaching import MIN_INPUTS, Distillation

_MAX_PREVIEWED_TOKENS = 256
_MAX_PREVIEWED_ANSWERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A job ready to run, and the events of its log about its files."""

    job: TuningJob
    events: tuple[NewEvent, ...]


@dataclass(frozen=True, slots=True, eq=False)
class JobPreparer:
    """Turns a job of the store into one that can run."""

    store: TuningStore
    base_name: str
    tokenizer: Tokenizer
    end_token_id: int | None
    limits: ExampleLimits
    host: Host
    owned_tasks: OwnedTasks

    def prepare(self, record: JobRecord) -> Prepared:
        """Read a job's files and check them against its request, and both against this server.

        Raises `FileRefused`, `TaskTaken`, `ExamplesRefused`, `PlanRefused`, `InvalidManifest`, and what the store
        raises.
        """
        self._check_task(record.task)
        request = request_from_json(record.request)
        self.host.check_plan(request.plan)
        if request.distillation is not None:
            return self._prepare_distillation(record, request, request.distillation)
        data = self._read(record, request)
        labels = request.manifest.labels or data.labels
        _check_labels(labels, request.manifest.labels, data)
        has_head = request.plan.has_head
        if has_head:
            check_classes(labels, data)
            self.host.check_head(request.plan, len(labels))
        manifest = replace(request.manifest, labels=labels, training_data_digest=data.digest)
        encode = self._encoding(request.plan, manifest, labels)
        encoded = [*encode(data.training)]
        self.host.check_memory(request.plan, data.training, encoded)
        unservable = self.host.notes_on_lengths(request.plan, encoded)
        try:
            judged = encode(data.validation)
            self.host.check_judged(request.plan, data.validation, judged, [] if has_head else self._label_ids(labels))
            self.host.check_memory(request.plan, data.validation, judged)
        except ExamplesRefused as error:
            raise FileRefused(error, _judged_by(record)) from error
        encoded += judged
        if not (manifest.defaults or has_head):
            longest = self.host.longest_answer(request.plan, max(len(one.completion) for one in encoded))
            manifest = replace(manifest, defaults={"temperature": 0.0, "max_tokens": longest})
        job = TuningJob(request.plan, data, manifest, self.base_name, self.end_token_id)
        examples = (*data.training, *data.validation)
        changed = () if has_head else notes_on_answers(self.tokenizer, examples, labels)
        notes = map(note_event, (*data.notes, *changed, *unservable))
        return Prepared(job, (*notes, *self._previews(data.training, encoded)))

    def _prepare_distillation(self, record: JobRecord, request: JobRequest, distillation: Distillation) -> Prepared:
        """Read the inputs of a distillation, and check them behind its instruction. Raises what `prepare` raises."""
        is_studied = distillation.num_inputs is not None
        data = before_study() if distillation.is_document else self._read_inputs(record, is_studied=is_studied)
        manifest = replace(request.manifest, training_data_digest=data.digest)
        if not manifest.defaults:
            manifest = replace(manifest, defaults=version_defaults(distillation))
        teacher = Teacher(self.tokenizer, manifest, distillation)
        teacher.check_text(self.host, request.plan)
        teacher.check_inputs(self.host, request.plan, data.training)
        try:
            teacher.check_inputs(self.host, request.plan, data.validation)
        except ExamplesRefused as error:
            raise FileRefused(error, _judged_by(record)) from error
        job = TuningJob(request.plan, data, manifest, self.base_name, self.end_token_id, distillation)
        return Prepared(job, tuple(map(note_event, data.notes)))

    def _read_inputs(self, record: JobRecord, *, is_studied: bool) -> TuningData:
        def read(file_id: int, param: str, min_inputs: int) -> ExampleSet:
            is_text = is_plain_text(self.store.get_file(file_id).filename)
            try:
                content = self.store.load_file(file_id)
                return read_inputs(content, is_text=is_text, limits=self.limits, min_inputs=min_inputs)
            except ExamplesRefused as error:
                raise FileRefused(error, param) from error

        training = read(record.training_file, "training_file", 1 if is_studied else MIN_INPUTS)
        validation = None if record.validation_file is None else read(record.validation_file, "validation_file", 1)
        if is_studied:
            return before_study(training, validation)
        try:
            return tuning_data(training, validation, record.seed, Split.RANDOM)
        except ExamplesRefused as error:
            raise FileRefused(error, "validation_file") from error

    def show(
        self, lines: Sequence[Mapping[str, Any]], request: JobRequest
    ) -> list[tuple[Example, tuple[PreviewToken, ...]]]:
        """The examples of a file's lines, token by token. A conversation has one example per answer.

        Raises `ExamplesRefused`, with the line's number from 1.
        """
        parsed = [parse_line(json.dumps(line).encode(), n, Reading.WHOLE) for n, line in enumerate(lines, start=1)]
        examples = [example for line in parsed for example in line.examples]
        labels = request.manifest.labels or [example.completion for example in examples]
        if request.plan.has_head and any(line.form is not ExampleForm.LABEL for line in parsed):
            check_labels(request.manifest.labels)
        encoded = self._encoding(request.plan, request.manifest, labels)(examples)
        return [(one, preview(self.tokenizer, ids)) for one, ids in zip(examples, encoded, strict=True)]

    def _encoding(
        self, plan: TuningPlan, manifest: Manifest, labels: Sequence[str]
    ) -> Callable[[Sequence[Example]], tuple[EncodedExample, ...]]:
        """How the examples of a run are encoded."""
        return partial(
            encode_examples,
            self.tokenizer,
            manifest,
            end_token_id=self.end_token_id,
            max_tokens=self.host.base.max_context - plan.num_virtual_tokens,
            form=answer_form(plan, self.host.base.kind),
            labels=labels,
        )

    def _check_task(self, task: str) -> None:
        """Raise `TaskTaken` if the task's name has been taken since the job was created."""
        if task in self.host.base.names:
            raise TaskTaken("the task's name is one of the base model's by now: create the job with another suffix")
        if task in self.owned_tasks():
            raise task_owned()

    def _label_ids(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        end = self.end_token_id
        assert end is not None
        return [encode_completion(self.tokenizer, label, end) for label in labels]

    def _read(self, record: JobRecord, request: JobRequest) -> TuningData:
        training = self._read_file(record.training_file, "training_file", request.reading)
        join = partial(tuning_data, training, seed=record.seed, split=request.split, labels=request.manifest.labels)
        if record.validation_file is None:
            return join()
        validation = self._read_file(record.validation_file, "validation_file", request.reading)
        try:
            return join(validation)
        except ExamplesRefused as error:
            raise FileRefused(error, "validation_file") from error

    def _read_file(self, file_id: int, param: str, reading: Reading) -> ExampleSet:
        content = self.store.load_file(file_id)
        try:
            return read_examples(content, self.limits, reading)
        except ExamplesRefused as error:
            raise FileRefused(error, param) from error

    def _previews(self, training: Sequence[Example], encoded: Sequence[EncodedExample]) -> list[NewEvent]:
        """The examples of the first line, token by token. A conversation has one per answer."""
        num_answers = sum(example.line == training[0].line for example in training)
        shown = encoded[: min(num_answers, _MAX_PREVIEWED_ANSWERS)]
        return [
            preview_event(number, num_answers, preview(self.tokenizer, one)[:_MAX_PREVIEWED_TOKENS])
            for number, one in enumerate(shown, start=1)
        ]


def _judged_by(record: JobRecord) -> str:
    return "training_file" if record.validation_file is None else "validation_file"


def _check_labels(labels: Sequence[str], wanted: Sequence[str], data: TuningData) -> None:
    """Raise `ExamplesRefused` if the request names labels and an answer is not one of them."""
    if not wanted:
        return
    examples: tuple[Example, ...] = (*data.training, *data.validation)
    for example in examples:
        if example.completion not in labels:
            raise ExamplesRefused("the answer is none of the job's labels", code="unknown_label", line=example.line)
