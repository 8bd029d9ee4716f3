"""Conversion of the store's files and tuning jobs into wire bodies, with public ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, cast

import prompts_store.tuning_records as store
from prompts_store.batch_errors import BatchNotFound
from prompts_store.errors import NotFound
from prompts_store.tuning_errors import FileNotFound, JobNotFound
from server.api.wire.files import FileObject
from server.api.wire.tuning import (
    GateBody,
    Job,
    JobCheckpoint,
    JobDistillation,
    JobEvent,
    JobFailure,
    JobHyperparameters,
    JobMethod,
    JobPreview,
    JobSupervised,
    PreviewedExample,
    PreviewedToken,
)
from server.jobs.request import JobRequest
from server.tuning.encoding import PreviewToken
from server.tuning.example_line import Example
from server.tuning.fit import Host
from server.tuning.plan import plan_to_json

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class IdKind:
    """A kind of public id, as in OpenAI's API: a prefix and the store's number. An invalid id raises `missing`."""

    prefix: str
    missing: NotFound

    def of(self, number: int) -> str:
        """The id of a number."""
        return f"{self.prefix}-{number}"

    def number(self, text: str) -> int:
        """The number of an id. Raises `missing`."""
        prefix, _, number = text.rpartition("-")
        if prefix != self.prefix or not _NUMBER.fullmatch(number):
            raise type(self.missing)(*self.missing.args)
        return int(number)

    def cursor(self, text: str | None) -> int | None:
        """The number of the id after which a page starts; None for the first page. Raises `missing`."""
        return None if text is None else self.number(text)


BATCH_ID = IdKind("batch", BatchNotFound("There is no batch of this id."))
FILE_ID = IdKind("file", FileNotFound("There is no file of this id."))
JOB_ID = IdKind("ftjob", JobNotFound("There is no tuning job of this id."))
EVENT_ID = IdKind("ftevent", NotFound("There is no event of this id."))
CHECKPOINT_ID = IdKind("ftckpt", NotFound("There is no checkpoint of this id."))

_ORGANIZATION = "softprompt-server"


def file_body(record: store.FileRecord) -> FileObject:
    """A file on the wire."""
    return FileObject(
        id=FILE_ID.of(record.id),
        object="file",
        bytes=record.num_bytes,
        created_at=_unix(record.created_at),
        filename=record.filename,
        purpose=cast(Literal["fine-tune", "batch", "batch_output"], record.purpose),
        status="processed",
        sha256=record.sha256,
    )


def job_body(record: store.JobRecord, base_id: str) -> Job:
    """A job on the wire."""
    request = record.request
    hyperparameters = _hyperparameters(request["plan"])
    gate = request["gate"]
    return Job(
        id=JOB_ID.of(record.id),
        object="fine_tuning.job",
        created_at=_unix(record.created_at),
        finished_at=_unix_or_none(record.finished_at),
        estimated_finish=_unix_or_none(record.estimated_finish),
        status=record.status.value,
        error=None if record.error is None else JobFailure(**asdict(record.error)),
        model=base_id,
        fine_tuned_model=None if record.version is None else f"{record.task}@{record.version}",
        organization_id=_ORGANIZATION,
        result_files=[],
        training_file=FILE_ID.of(record.training_file),
        validation_file=None if record.validation_file is None else FILE_ID.of(record.validation_file),
        trained_tokens=record.trained_tokens,
        hyperparameters=hyperparameters,
        method=_method(request.get("distillation"), hyperparameters),
        integrations=[],
        seed=record.seed,
        metadata=dict(request["metadata"]),
        task=record.task,
        version=record.version,
        template=request["manifest"]["template"],
        chat_template=request["manifest"].get("chat_template", False),
        labels=list(request["manifest"]["labels"]),
        promote=request["promote"],
        gate=None if gate is None else GateBody(**gate),
        metrics=dict(record.metrics),
    )


def _method(distillation: Mapping[str, Any] | None, hyperparameters: JobHyperparameters) -> JobMethod:
    supervised = JobSupervised(hyperparameters=hyperparameters)
    if distillation is None:
        return JobMethod(type="supervised", supervised=supervised)
    fields = {"document" if name == "is_document" else name: value for name, value in distillation.items()}
    told = JobDistillation(**fields, hyperparameters=hyperparameters)
    return JobMethod(type="distillation", supervised=supervised, distillation=told)


def preview_body(
    base_id: str,
    request: JobRequest,
    shown: Iterable[tuple[Example, Sequence[PreviewToken]]],
    host: Host,
    max_file: int,
) -> JobPreview:
    """A preview on the wire."""
    return JobPreview(
        object="fine_tuning.preview",
        model=base_id,
        template=request.manifest.template,
        add_special_tokens=request.manifest.add_special_tokens,
        chat_template=request.manifest.chat_template,
        hyperparameters=_hyperparameters(plan_to_json(request.plan)),
        max_model_len=host.base.max_context,
        max_file_bytes=max_file,
        examples=[
            PreviewedExample(
                line=example.line,
                tokens=[PreviewedToken(id=one.token_id, text=one.text, learnt=one.is_learnt) for one in tokens],
                **({"label": example.completion} if request.plan.has_head else {}),
            )
            for example, tokens in shown
        ],
    )


def event_body(event: store.JobEvent) -> JobEvent:
    """An event on the wire."""
    return JobEvent(
        id=EVENT_ID.of(event.id),
        object="fine_tuning.job.event",
        created_at=_unix(event.created_at),
        level=cast(Literal["info", "warn", "error"], event.level),
        message=event.message,
        type=cast(Literal["message", "metrics"], event.kind),
        data=dict(event.data),
    )


def checkpoint_body(checkpoint: store.JobCheckpoint, job: store.JobRecord) -> JobCheckpoint:
    """A checkpoint on the wire."""
    return JobCheckpoint(
        id=CHECKPOINT_ID.of(checkpoint.id),
        object="fine_tuning.job.checkpoint",
        created_at=_unix(checkpoint.created_at),
        fine_tuned_model_checkpoint=f"{job.task}:step-{checkpoint.step}",
        fine_tuning_job_id=JOB_ID.of(job.id),
        step_number=checkpoint.step,
        metrics=dict(checkpoint.metrics),
    )


def _hyperparameters(plan: Mapping[str, Any]) -> JobHyperparameters:
    """The hyperparameters of a stored plan. A plan of an earlier release lacks the latest fields."""
    latest = {"n_epochs", "learning_rate_multiplier", "max_extensions", "task_type"}
    fields = {name: plan[name] for name in JobHyperparameters.model_fields.keys() - latest}
    return JobHyperparameters(
        n_epochs=_or_auto(plan["num_epochs"]),
        learning_rate_multiplier=_or_auto(plan.get("learning_rate_multiplier")),
        max_extensions=plan.get("max_extensions", 0),
        **({"task_type": plan["task_type"]} if "task_type" in plan else {}),
        **fields,
    )


def _or_auto(value: float | None) -> float | Literal["auto"]:
    return "auto" if value is None else value


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())


def _unix_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else _unix(moment)
