"""Examples of batches: three inputs for `sentiment`, of which one has no answer."""

from __future__ import annotations

from server.api.wire import batches
from server.api.wire.examples.inference import CREATED

_INPUT, _OUTPUT, _ERRORS = "file-7", "file-8", "file-9"


def _batch(status: batches.Status) -> batches.Batch:
    is_done = status == "completed"
    return batches.Batch(
        id="batch-1",
        object="batch",
        endpoint="/v1/completions",
        errors=None,
        input_file_id=_INPUT,
        completion_window="24h",
        status=status,
        output_file_id=_OUTPUT if is_done else None,
        error_file_id=_ERRORS if is_done else None,
        created_at=CREATED,
        in_progress_at=None if status == "validating" else CREATED + 1,
        expires_at=CREATED + 86_400,
        finalizing_at=CREATED + 60 if is_done else None,
        completed_at=CREATED + 61 if is_done else None,
        failed_at=None,
        expired_at=None,
        cancelling_at=CREATED + 30 if status == "cancelling" else None,
        cancelled_at=None,
        request_counts=batches.RequestCounts(
            total=0 if status == "validating" else 3, completed=2 if is_done else 0, failed=1 if is_done else 0
        ),
        created_by="key:nightly",
        metadata={"night": "1"},
    )


EXAMPLES = (
    batches.CreateBatch(
        input_file_id=_INPUT, endpoint="/v1/completions", completion_window="24h", metadata={"night": "1"}
    ),
    _batch("completed"),
    batches.BatchList(object="list", data=[_batch("completed")], has_more=False, first_id="batch-1", last_id="batch-1"),
)

AFTER = {"batches_create": _batch("validating"), "batches_cancel": _batch("cancelling")}
"""Answers of operations that find the batch in another status."""
