"""A job's files, read and checked; everything here takes its time, and belongs into a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from prompts_store.tuning_records import JobRecord, NewEvent
from prompts_store.tuning_store import TuningStore
from server.jobs.failures import FileRefused, OwnedTasks, TaskTaken, task_owned
from server.jobs.request import JobRequest, request_from_json
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample, encode_completion, encode_examples, preview
from server.tuning.errors import ExamplesRefused
from server.tuning.examples import Example, ExampleLimits, ExampleSet, Reading, read_examples
from server.tuning.fit import Host
from server.tuning.run import TuningJob
from server.tuning.split import TuningData, tuning_data
from server.tuning.survival import notes_on_answers

_MAX_PREVIEWED_TOKENS = 256
_MAX_PREVIEWED_ANSWERS = 4
_FACTS = ("held out", "answers to learn")
"""What notes say that is nothing to worry about."""


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
    owned_tasks: OwnedTasks

    def prepare(self, record: JobRecord) -> Prepared:
        """Read a job's files and check them against its request, and both against this server.

        Raises `FileRefused`, `TaskTaken`, `ExamplesRefused`, `PlanRefused`, `InvalidManifest`, and what the store
        raises.
        """
        self._check_task(record.task)
        request = request_from_json(record.request)
        self.host.check_plan(request.plan)
        data = self._read(record, request)
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
            longest = self.host.longest_answer(request.plan, max(len(one.completion) for one in encoded))
            manifest = replace(manifest, defaults={"temperature": 0.0, "max_tokens": longest})
        job = TuningJob(request.plan, data, manifest, self.base_name, self.end_token_id)
        changed = notes_on_answers(self.tokenizer, (*data.training, *data.validation), labels)
        notes = (*map(_note, (*data.notes, *changed)), *_unasked(num_unasked))
        return Prepared(job, (*notes, *self._previews(data.training, encoded)))

    def _check_task(self, task: str) -> None:
        """What was free when the job was created may be taken since."""
        if task in self.host.base.names:
            raise TaskTaken("the task's name is one of the base model's by now: create the job with another suffix")
        if task in self.owned_tasks():
            raise task_owned()

    def _label_ids(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        return [encode_completion(self.tokenizer, label, self.end_token_id) for label in labels]

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
        """The first line's examples, of which a conversation may have many, token by token."""
        num_answers = sum(example.line == training[0].line for example in training)
        events = []
        for number, one in enumerate(encoded[: min(num_answers, _MAX_PREVIEWED_ANSWERS)], start=1):
            of = "" if num_answers == 1 else f", its answer {number} of {num_answers}"
            tokens = preview(self.tokenizer, one)[:_MAX_PREVIEWED_TOKENS]
            told = [{"id": token.token_id, "text": token.text, "learnt": token.is_learnt} for token in tokens]
            said = f"The first example{of}, as the model sees it behind the virtual tokens."
            events.append(NewEvent(said, data={"tokens": told}))
        return events


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
    return NewEvent(f"{text[0].upper()}{text[1:]}.", level="info" if any(fact in text for fact in _FACTS) else "warn")
