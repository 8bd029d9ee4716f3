"""`/v1/batches`, compatible with OpenAI's."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from server.api.wire.bodies import Metadata, RequestBody, ResponseBody
from server.api.wire.passive_fields import BATCH_FIELDS, Fields

Endpoint = Literal["/v1/completions", "/v1/chat/completions", "/v1/classify", "/v1/embeddings"]
Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


class CreateBatch(RequestBody):
    """A new batch."""

    passive_fields: ClassVar[Fields] = BATCH_FIELDS

    input_file_id: str
    """A file with the purpose `batch`: one JSON object per line, with `custom_id`, `method` ("POST"), `url` (the
    endpoint) and `body`."""
    endpoint: Endpoint
    completion_window: Literal["24h"]
    """The time after which the batch expires. Lines without an answer are listed in the error file then."""
    metadata: Metadata | None = Field(default=None, max_length=16)


class BatchError(ResponseBody):
    """What is wrong with the input file."""

    code: str
    message: str
    param: str | None
    line: int | None
    """The number of the line, from 1. null: the whole file."""


class BatchErrors(ResponseBody):
    """Why a batch failed: the first 100 faults of its file."""

    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(ResponseBody):
    """Counts of lines. Those that were never asked are in `total` only."""

    total: int
    """0 until the input file is validated."""
    completed: int
    failed: int


class Batch(ResponseBody):
    """A batch. Times are Unix times in seconds."""

    id: str
    object: Literal["batch"]
    endpoint: Endpoint
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    """The answers, in the order of the input. null until the batch has ended, and without an answer."""
    error_file_id: str | None
    """The lines whose answer is an error, and those that were never asked."""
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    created_by: str
    """Who created it: `key:` and the name of a key, or `anonymous`."""
    metadata: dict[str, str] | None


class BatchList(ResponseBody):
    """A page of batches, newest first."""

    object: Literal["list"]
    data: list[Batch]
    has_more: bool
    first_id: str | None
    last_id: str | None
