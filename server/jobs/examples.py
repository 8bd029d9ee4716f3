"""A job's files, read and checked; everything here takes its time, and belongs into a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from prompts_store.manifest import manifest_to_json, parse_manifest
from prompts_store.tuning_records import JobRecord, NewEvent
from prompts_store.tuning_store import TuningStore
from server.jobs.failures import FileRefused, TaskTaken
from server.jobs.request import request_from_json
from server.soft_prompts.tasks_folder import TasksFolder
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample, encode_completion, encode_examples, preview
from server.tuning.errors import ExamplesRefused
from server.tuning.examples import Example, ExampleLimits, ExampleSet, read_examples
from server.tuning.fit import Host
from server.tuning.run import TuningJob
from server.tuning.split import TuningData, tuning_data

_MAX_PREVIEWED_TOKENS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A job ready to run, and what there is to say about its files."""

    job: TuningJob
    notes: tuple[NewEvent, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """What turns a job of the store into one that can run."""

    store: TuningStore
    base_name: str
    tokenizer: Tokenizer
    end_token_id: int
    limits: ExampleLimits
    host: Host
    tasks_folder: TasksFolder | None = None

    def prepare(self, record: JobRecord) -> Prepared:
        """Read a job's files and check them against its request, and both against this server.

        Raises `FileRefused`, `TaskTaken`, `ExamplesRefused`, `PlanRefused`, `InvalidManifest`, and what the store
        raises.
        """
        self._check_task(record.task)
        request = request_from_json(record.request)
        self.host.check_plan(request.plan)
        data = self._read(record)
        labels = request.manifest.labels or data.labels
        _check_labels(labels, request.manifest.labels, data)
        manifest = replace(request.manifest, labels=labels, training_data_digest=data.digest)
        room = self.host.base.max_context - request.plan.num_virtual_tokens
        encode = partial(encode_examples, self.tokenizer, manifest, end_token_id=self.end_token_id, max_tokens=room)
        encoded = [*encode(data.training)]
        self.host.check_memory(request.plan, data.training, encoded)
        num_unasked = self.host.num_longer_than_served(request.plan, encoded)
        try:
            judged = encode(data.validation)
            self.host.check_judged(request.plan, data.validation, judged, self._label_ids(labels))
            self.host.check_memory(request.plan, data.validation, judged)
        except ExamplesRefused as error:
            raise FileRefused(error, _judged_by(record)) from error
        encoded += judged
        if not manifest.defaults:
            longest = max(len(one.completion) for one in encoded)
            manifest = replace(manifest, defaults={"temperature": 0.0, "max_tokens": longest})
        manifest = parse_manifest(manifest_to_json(manifest))
        job = TuningJob(request.plan, data, manifest, self.base_name, self.end_token_id)
        notes = (*map(_note, data.notes), *_unasked(num_unasked))
        return Prepared(job, (*notes, self._preview(encoded[0])))

    def _check_task(self, task: str) -> None:
        """What was free when the job was created may be taken since."""
        if task in self.host.base.names:
            raise TaskTaken("the task's name is one of the base model's by now: create the job with another suffix")
        if self.tasks_folder is not None and task in self.tasks_folder.tasks:
            raise TaskTaken("the task is published from a folder on the server's side by now; change it there")

    def _label_ids(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        return [encode_completion(self.tokenizer, label, self.end_token_id) for label in labels]

    def _read(self, record: JobRecord) -> TuningData:
        training = self._read_file(record.training_file, "training_file")
        if record.validation_file is None:
            return tuning_data(training, None, record.seed)
        validation = self._read_file(record.validation_file, "validation_file")
        try:
            return tuning_data(training, validation, record.seed)
        except ExamplesRefused as error:
            raise FileRefused(error, "validation_file") from error

    def _read_file(self, file_id: int, param: str) -> ExampleSet:
        content = self.store.load_file(file_id)
        try:
            return read_examples(content, self.limits)
        except ExamplesRefused as error:
            raise FileRefused(error, param) from error

    def _preview(self, encoded: EncodedExample) -> NewEvent:
        tokens = preview(self.tokenizer, encoded)[:_MAX_PREVIEWED_TOKENS]
        told = [{"id": one.token_id, "text": one.text, "learnt": one.is_learnt} for one in tokens]
        return NewEvent("The first example, as the model sees it behind the virtual tokens.", data={"tokens": told})


def _judged_by(record: JobRecord) -> str:
    return "training_file" if record.validation_file is None else "validation_file"


def _check_labels(labels: Sequence[str], wanted: Sequence[str], data: TuningData) -> None:
    """Raise `ExamplesRefused` where labels were named and an answer is none of them."""
    if not wanted:
        return
    examples: tuple[Example, ...] = (*data.training, *data.validation)
    for example in examples:
        if example.completion not in labels:
            raise ExamplesRefused("the answer is none of the job's labels", code="unknown_label", line=example.line)


def _unasked(num_examples: int) -> list[NewEvent]:
    if not num_examples:
        return []
    text = f"{num_examples} examples are learnt from, but longer than what this server's KV cache can ever answer."
    return [NewEvent(text, level="warn")]


def _note(text: str) -> NewEvent:
    return NewEvent(f"{text[0].upper()}{text[1:]}.", level="info" if "held out" in text else "warn")
