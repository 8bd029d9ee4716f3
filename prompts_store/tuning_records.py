"""Records of files and tuning jobs, as the store takes and returns them."""

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


@dataclass(frozen=True, slots=True)
class FileAccess:
    """The files that a caller sees.

    Files of batches belong to who made them: `owner` None sees those of all. `sees_examples`: files of tuning jobs,
    which all keys with the right to tune share.
    """

    owner: str | None = None
    sees_examples: bool = True


ALL_FILES = FileAccess()


class JobStatus(StrEnum):
    """Status of a job. The last three are ends, but a failed job that kept its state can be resumed."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether the job has ended."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class StateAtFailure(StrEnum):
    """What becomes of the saved state of a job that fails."""

    RESUMABLE = "resumable"
    """The job can be resumed from it."""
    UNREADABLE = "unreadable"
    """It is kept, but the server that failed the job cannot read it. Another release or other options may."""
    DROPPED = "dropped"
    """It is removed: a resumed job would fail again."""


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
    """A server's claim of a job. `number` grows with every claim; a server with an older claim can change nothing."""

    job_id: int
    number: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Number of heartbeats that a server has written for its claim. It grows for as long as the server works."""

    claim: JobClaim
    num_beats: int
    status: JobStatus


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event for a job's log. `level` is info, warn or error; `kind` is message or metrics."""

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
    """Progress of a job."""

    trained_tokens: int
    estimated_finish: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobCheckpoint:
    """A checkpoint of a job. The state of the latest one is kept until the job succeeds or is cancelled."""

    id: int
    created_at: datetime
    step: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Promotion:
    """Decision whether a tuned version becomes `production`.

    `etag` is that of the alias when the decision began, None if the task had none. If the alias has moved since, the
    version is not promoted. The first version of a task becomes `production` even without `is_wanted`, but never with
    `is_refused`. `reason` goes into the alias's history.
    """

    is_wanted: bool = False
    is_refused: bool = False
    etag: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """Result of a job besides the checkpoint. `plot` is a PNG."""

    manifest: Manifest
    promotion: Promotion
    trained_tokens: int
    metrics: Mapping[str, Any]
    plot: bytes | None = None
