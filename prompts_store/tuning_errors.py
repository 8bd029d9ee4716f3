"""The exceptions of files and tuning jobs; the tree of errors.py, continued.

StoreError
├── NotFound
│   ├── FileNotFound
│   ├── JobNotFound
│   └── PlotNotFound
├── Conflict
│   ├── FileInUse              a tuning job or a batch still needs the file
│   ├── JobStatusConflict      the tuning job's status does not allow the operation
│   └── TaskDeleted            the task was deleted while it was tuned
├── QueueFull                  too many tuning jobs are unfinished
└── ClaimLost                  the tuning job is no longer this server's
"""

from __future__ import annotations

from prompts_store.errors import Conflict, NotFound, StoreError
from prompts_store.tuning_records import JobStatus


class FileNotFound(NotFound):
    """There is no file of this id."""

    code = "file_not_found"


class JobNotFound(NotFound):
    """There is no tuning job of this id."""

    code = "job_not_found"


class PlotNotFound(NotFound):
    """The version was not tuned here, or without a plot."""

    code = "plot_not_found"


class FileInUse(Conflict):
    """A tuning job or a batch that has not ended needs the file."""

    code = "file_in_use"


class JobStatusConflict(Conflict):
    """A job of this status does not allow the operation."""

    code = "job_status_conflict"


class TaskDeleted(Conflict):
    """The task was deleted while it was tuned, so nothing is published to its name."""

    code = "task_deleted"


class QueueFull(StoreError):
    """The maximum number of unfinished tuning jobs is reached."""

    code = "tuning_queue_full"


class ClaimLost(StoreError):
    """The job was cancelled or paused, is gone, or another server works on it.

    `status` is its status now, None if it is gone.
    """

    code = "claim_lost"

    def __init__(self, message: str, *, status: JobStatus | None = None) -> None:
        super().__init__(message)
        self.status = status
