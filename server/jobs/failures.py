"""Errors of failed jobs, in words for their owner. The message of a foreign exception goes to the log only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from prompts_store.errors import InvalidCheckpoint, InvalidManifest, StoreError
from prompts_store.tuning_records import JobError, JobStatus
from server.tuning.errors import ExamplesRefused, PlanRefused, StudyFailed, TeacherSilent, TuningDiverged, TuningError

_log = logging.getLogger(__name__)


class FileRefused(Exception):
    """One of a job's files cannot be used. `param` names the file, the cause gives the reason."""

    def __init__(self, refused: ExamplesRefused, param: str) -> None:
        super().__init__(str(refused))
        self.code = refused.code
        self.param = param


OwnedTasks = Callable[[], Collection[str]]
"""Returns the tasks that a folder of the server publishes now."""


class TaskTaken(Exception):
    """The name of the job's task has been taken since the job was created. `code` says by what."""

    def __init__(self, message: str, *, code: str = "task_taken") -> None:
        super().__init__(message)
        self.code = code


def task_owned() -> TaskTaken:
    """The error for a task that a folder of the server publishes now."""
    message = "the task is now published from a folder on the server; change it there"
    return TaskTaken(message, code="task_read_only")


def stops_servers(status: JobStatus) -> JobError:
    """Error of a job that stops one server after another, by the job's status."""
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
    """Convert an exception into the job's error."""
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
            return JobError("invalid_value", str(error), "training_file" if error.param == "document" else error.param)
        case TuningDiverged():
            return JobError("diverged", str(error), "learning_rate")
        case StudyFailed():
            return JobError("too_few_inputs", str(error), "method.distillation.num_inputs")
        case TeacherSilent():
            return JobError("empty_answers", str(error), "method.distillation.instruction")
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
    """Whether an exception reports a lack of memory.

    This layer does not import PyTorch, so its error is recognised by the class name. On a CPU PyTorch raises a plain
    RuntimeError, which only its text tells apart.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error))
    )
