"""Records of batches, as the store takes and returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

INPUT_PURPOSE, OUTPUT_PURPOSE = "batch", "batch_output"
"""The purposes of the files of batches. Such a file belongs to the key that made it."""
BATCH_PURPOSES = (INPUT_PURPOSE, OUTPUT_PURPOSE)


class BatchStatus(StrEnum):
    """Status of a batch, by OpenAI's names."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether the batch has ended."""
        return self in (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch as it is asked for. `owner` is the actor whose rights each line has when it runs."""

    fingerprint: str
    owner: str
    endpoint: str
    input_file: int
    completion_window: str
    expires_at: datetime
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BatchFault:
    """Why a batch failed, written for who asked for it. `line` counts from 1; None is the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch.

    `num_answered` lines have an answer and `num_failed` an error; the lines that never ran are in neither. `ended_at`
    is the time of its last status. `claimed_by` names the server that works on it now.
    """

    id: int
    fingerprint: str
    owner: str
    endpoint: str
    input_file: int
    completion_window: str
    metadata: Mapping[str, str]
    status: BatchStatus
    faults: tuple[BatchFault, ...]
    num_lines: int
    num_answered: int
    num_failed: int
    output_file: int | None
    error_file: int | None
    created_at: datetime
    expires_at: datetime
    in_progress_at: datetime | None
    cancelling_at: datetime | None
    finalizing_at: datetime | None
    ended_at: datetime | None
    claimed_by: str | None


@dataclass(frozen=True, slots=True)
class BatchClaim:
    """A server's claim of a batch. `number` grows with every claim; an older claim can change nothing."""

    batch_id: int
    number: int


@dataclass(frozen=True, slots=True)
class BatchBeat:
    """Number of heartbeats that a server has written for its claim."""

    claim: BatchClaim
    num_beats: int


@dataclass(frozen=True, slots=True)
class LineResult:
    """The result of one line: `data` is its line of the output file, or of the error file if `is_error`.

    `number` counts the lines of the input file from 1.
    """

    number: int
    data: str
    is_error: bool = False
