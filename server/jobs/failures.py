"""Why a job failed, in words for who asked for it. What is not ours to quote is logged, not told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from prompts_store.errors import InvalidCheckpoint, InvalidManifest, StoreError
from prompts_store.tuning_records import JobError, JobStatus
from server.tuning.errors import ExamplesRefused, PlanRefused, TuningDiverged, TuningError

_log = logging.getLogger(__name__)


class FileRefused(Exception):
    """One of a job's files is not usable; `param` names it, the cause says why."""

    def __init__(self, refused: ExamplesRefused, param: str) -> None:
        super().__init__(str(refused))
        self.code = refused.code
        self.param = param


OwnedTasks = Callable[[], Collection[str]]
"""Names the tasks that a folder on the server's side publishes now."""


class TaskTaken(Exception):
    """The job's task belongs to something else since the job was created. `code` says what."""

    def __init__(self, message: str, *, code: str = "task_taken") -> None:
        super().__init__(message)
        self.code = code


def task_owned() -> TaskTaken:
    """A folder on the server's side publishes the task by now."""
    message = "the task is published from a folder on the server's side by now; change it there"
    return TaskTaken(message, code="task_read_only")


def stops_servers(status: JobStatus) -> JobError:
    """The error of a job over which servers stop one after another, by where it is."""
    if status is JobStatus.VALIDATING_FILES:
        message = (
            "one server after another stopped while it read the job's files: there may be too little memory for them. "
            "Use smaller files, or give the server more memory, and create the job again"
        )
        return JobError("server_stopped", message, "training_file")
    message = (
        "one server after another stopped while it worked on this job, and none came to a new checkpoint: one piece "
        "outlasts --engine-timeout-s, or needs more memory than there is (the server's log says which). Make the "
        "longest examples shorter or lower num_virtual_tokens, or raise --engine-timeout-s or the memory, and create "
        "the job again"
    )
    return JobError("server_stopped", message)


def job_error(job_id: int, error: Exception) -> JobError:
    """An exception as the job's error."""
    match error:
        case FileRefused():
            return JobError(error.code, str(error), error.param)
        case TaskTaken():
            return JobError(error.code, str(error), "suffix")
        case ExamplesRefused(code="example_too_long", line=None):  # a held-out one, of either file
            return JobError(error.code, str(error))
        case ExamplesRefused():
            return JobError(error.code, str(error), "training_file")
        case PlanRefused():
            return JobError("invalid_value", str(error), error.param)
        case TuningDiverged():
            return JobError("diverged", str(error), "learning_rate")
        case TuningError():
            return JobError("tuning_refused", str(error))
        case InvalidManifest() | InvalidCheckpoint():
            return JobError(error.code, f"{error.param}: {error}", error.param)
        case StoreError():
            return JobError(error.code, str(error))
    if _is_lack_of_memory(error):
        return JobError("out_of_memory", "there was not enough memory for the run")
    _log.error("tuning job %d failed", job_id, exc_info=error)
    return JobError("internal_error", "the server failed to run this job; its log says why")


def _is_lack_of_memory(error: Exception) -> bool:
    """PyTorch's errors go by their name and, on a CPU, by what they begin with: this layer knows no tensors."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error))
    )
