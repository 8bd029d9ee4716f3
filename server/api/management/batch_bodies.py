"""Conversion of the store's batches into wire bodies."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import cast

from prompts_store.batch_records import BatchRecord, BatchStatus
from server.api.management.tuning_bodies import BATCH_ID, FILE_ID
from server.api.wire.batches import Batch, BatchError, BatchErrors, Endpoint, RequestCounts


def batch_body(record: BatchRecord) -> Batch:
    """A batch on the wire."""
    faults = [BatchError(**asdict(fault)) for fault in record.faults]

    def ended(status: BatchStatus) -> int | None:
        return _unix(record.ended_at) if record.status is status else None

    return Batch(
        id=BATCH_ID.of(record.id),
        object="batch",
        endpoint=cast(Endpoint, record.endpoint),
        errors=BatchErrors(object="list", data=faults) if faults else None,
        input_file_id=FILE_ID.of(record.input_file),
        completion_window=record.completion_window,
        status=record.status.value,
        output_file_id=None if record.output_file is None else FILE_ID.of(record.output_file),
        error_file_id=None if record.error_file is None else FILE_ID.of(record.error_file),
        created_at=int(record.created_at.timestamp()),
        in_progress_at=_unix(record.in_progress_at),
        expires_at=int(record.expires_at.timestamp()),
        finalizing_at=_unix(record.finalizing_at),
        completed_at=ended(BatchStatus.COMPLETED),
        failed_at=ended(BatchStatus.FAILED),
        expired_at=ended(BatchStatus.EXPIRED),
        cancelling_at=_unix(record.cancelling_at),
        cancelled_at=ended(BatchStatus.CANCELLED),
        request_counts=RequestCounts(total=record.num_lines, completed=record.num_answered, failed=record.num_failed),
        created_by=record.owner,
        metadata=dict(record.metadata) or None,
    )


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
