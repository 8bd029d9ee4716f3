"""What the store takes and gives back of files and tuning jobs: frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from prompts_store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class FileRecord:
    """An uploaded file. `sha256` is that of its bytes."""

    id: int
    filename: str
    purpose: str
    num_bytes: int
    sha256: str
    created_at: datetime
    created_by: str


class JobStatus(StrEnum):
    """Where a job is. The last three are its ends; a failed job that kept its state can be resumed."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing comes after it."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is asked for. `request` is what the tuner must know: a JSON object that the store does not read."""

    fingerprint: str
    task: str
    training_file: int
    validation_file: int | None
    seed: int
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, written for who asked for it. `param` names the field at fault, if one is."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A tuning job.

    `version` is what it ended in. `trained_tokens` counts tokens that went through the model for training.
    `claimed_by` names the server that works on it now.
    """

    id: int
    fingerprint: str
    task: str
    status: JobStatus
    training_file: int
    validation_file: int | None
    seed: int
    request: Mapping[str, Any]
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None
    estimated_finish: datetime | None
    trained_tokens: int | None
    metrics: Mapping[str, Any]
    version: int | None
    error: JobError | None
    claimed_by: str | None


@dataclass(frozen=True, slots=True)
class JobClaim:
    """A server's hold on a job. `number` grows with every claim: who holds an older one can change nothing any more."""

    job_id: int
    number: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A job that a server works on, and how often it has said so: a count that stands still belongs to a dead one."""

    claim: JobClaim
    num_beats: int
    status: JobStatus


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something to tell about a job: `level` is info, warn or error; `kind` is message or metrics."""

    message: str
    level: str = "info"
    kind: str = "message"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One entry of a job's log, which only grows."""

    id: int
    created_at: datetime
    level: str
    kind: str
    message: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is."""

    trained_tokens: int
    estimated_finish: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobCheckpoint:
    """A moment that a job can go on from, or once could: the latest one's state is kept until the job ends well."""

    id: int
    created_at: datetime
    step: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Promotion:
    """Whether a tuned version is to become `production`.

    `etag` is where the alias was when the decision began, None if it was nowhere: if it has moved since, it stays. With
    `is_wanted` False a task's first version becomes `production` all the same, unless `is_refused` keeps it back.
    `reason` goes into the alias's history.
    """

    is_wanted: bool = False
    is_refused: bool = False
    etag: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What a job ends in beside the checkpoint. `plot` is a PNG."""

    manifest: Manifest
    promotion: Promotion
    trained_tokens: int
    metrics: Mapping[str, Any]
    plot: bytes | None = None
