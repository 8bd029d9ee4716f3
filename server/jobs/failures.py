"""Why a job failed, in words for who asked for it. What is not ours to quote is logged, not told."""

from __future__ import annotations

import logging

from prompts_store.errors import InvalidCheckpoint, InvalidManifest, StoreError
from prompts_store.tuning_records import JobError
from server.tuning.errors import EvaluationFailed, ExamplesRefused, PlanRefused, TuningDiverged, TuningError

_log = logging.getLogger(__name__)


class FileRefused(Exception):
    """One of a job's files is not usable; `param` names it, the cause says why."""

    def __init__(self, refused: ExamplesRefused, param: str) -> None:
        super().__init__(str(refused))
        self.code = refused.code
        self.param = param


class TaskOwned(Exception):
    """A folder on the server's side publishes the task by now."""

    def __init__(self, task: str) -> None:
        super().__init__(f'The task "{task}" is published from a folder on the server\'s side, and from nowhere else.')


def job_error(job_id: int, error: Exception) -> JobError:
    """An exception as the job's error."""
    match error:
        case FileRefused():
            return JobError(error.code, str(error), error.param)
        case ExamplesRefused():
            return JobError(error.code, str(error), "training_file")
        case PlanRefused():
            return JobError("invalid_value", str(error), error.param)
        case TuningDiverged():
            return JobError("diverged", str(error), "learning_rate")
        case EvaluationFailed():
            return JobError(error.code, str(error))
        case TuningError():
            return JobError("tuning_refused", str(error))
        case InvalidManifest() | InvalidCheckpoint():
            return JobError(error.code, f"{error.param}: {error}", error.param)
        case StoreError():
            return JobError(error.code, str(error))
        case TaskOwned():
            return JobError("task_read_only", str(error))
        case MemoryError():
            return JobError("out_of_memory", "there was not enough memory for the run")
    _log.error("tuning job %d failed", job_id, exc_info=error)
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, by name: this layer knows no tensors
        return JobError("out_of_memory", "there was not enough memory for the run")
    return JobError("internal_error", "the server failed to run this job; its log says why")
