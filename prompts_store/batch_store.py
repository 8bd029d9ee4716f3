"""Batches in the store: every public operation is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from prompts_store.batch_records import (
    BatchBeat,
    BatchClaim,
    BatchFault,
    BatchRecord,
    BatchStatus,
    LineResult,
    NewBatch,
)
from prompts_store.sql.batches import batches, claims, lines
from prompts_store.store import Store
from prompts_store.tuning_records import ALL_FILES, FileAccess


class BatchStore:
    """Batches and the results of their lines, in a store's database. Synchronous, and safe for many threads.

    Every method may raise StoreUnavailable. A write with a claim raises BatchClaimLost if the batch has a later claim,
    has ended or is gone. `owner` None sees the batches of all keys. Limits of pages are positive.
    """

    def __init__(self, store: Store) -> None:
        self._database = store.database

    def create(self, batch: NewBatch, *, max_unfinished: int, access: FileAccess = ALL_FILES) -> BatchRecord:
        """Add a batch; a server validates its file next. Raises FileNotFound and BatchQueueFull."""
        with self._database.write() as connection:
            return batches.create(connection, batch, max_unfinished=max_unfinished, access=access)

    def get(self, fingerprint: str, batch_id: int, *, owner: str | None = None) -> BatchRecord:
        """Return one batch. Raises BatchNotFound."""
        with self._database.read() as connection:
            return batches.get(connection, fingerprint, batch_id, owner=owner)

    def page(
        self, fingerprint: str, *, owner: str | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[BatchRecord, ...]:
        """Return batches, newest first: the first `limit` below the id `before`."""
        with self._database.read() as connection:
            return batches.page(connection, fingerprint, owner=owner, before=before, limit=limit)

    def cancel(self, fingerprint: str, batch_id: int, *, owner: str | None = None) -> BatchRecord:
        """Ask for a batch's end; a server ends it. Raises BatchNotFound and BatchStatusConflict."""
        with self._database.write() as connection:
            return batches.cancel(connection, fingerprint, batch_id, owner=owner)

    # --- working on batches -------------------------------------------------------------------------------------------

    def claim(
        self, fingerprint: str, server: str, *, to_end: bool = False, now: datetime | None = None
    ) -> tuple[BatchClaim, BatchRecord] | None:
        """Claim the oldest batch that waits to be asked, or `to_end`: that is cancelled, expired or done.

        Return None without one.
        """
        now = datetime.now(UTC) if now is None else now
        with self._database.read() as connection:  # polled: a write begins only for a batch that is there
            if not claims.has_waiting(connection, fingerprint, now, to_end=to_end):
                return None
        with self._database.write() as connection:
            return claims.claim_next(connection, fingerprint, server, now, to_end=to_end)

    def beats(self, fingerprint: str) -> tuple[BatchBeat, ...]:
        """Return the heartbeats of all claimed batches."""
        with self._database.read() as connection:
            return claims.beats(connection, fingerprint)

    def take_over(self, stale: BatchBeat, hopeless: BatchFault) -> bool:
        """End the claim of a batch whose holder has not beaten since `stale`; return whether that happened.

        The batch fails with `hopeless` if `MAX_FRUITLESS_CLAIMS` servers in a row have stopped while they worked on it.
        """
        with self._database.write() as connection:
            return claims.take_over(connection, stale, hopeless)

    def beat(self, claim: BatchClaim) -> BatchStatus:
        """Write a heartbeat, and return the batch's status."""
        with self._database.write() as connection:
            return claims.beat(connection, claim)

    def release(self, claim: BatchClaim) -> None:
        """End a claim in order, so that any server can continue the batch."""
        with self._database.write() as connection:
            claims.release(connection, claim)

    def accept(self, claim: BatchClaim, num_lines: int, tasks: Collection[str]) -> None:
        """Begin to ask a batch whose file is valid. `tasks` are the names of the tasks in its lines."""
        with self._database.write() as connection:
            claims.accept(connection, claim, num_lines, tasks)

    def reject(self, claim: BatchClaim, faults: Sequence[BatchFault]) -> None:
        """End a batch whose file is not valid."""
        with self._database.write() as connection:
            claims.reject(connection, claim, faults)

    def done(self, claim: BatchClaim) -> frozenset[int]:
        """Return the numbers of the lines whose results are kept."""
        with self._database.read() as connection:
            return lines.numbers(connection, claim.batch_id)

    def keep(self, claim: BatchClaim, results: Sequence[LineResult]) -> BatchStatus:
        """Keep the results of lines, and return the batch's status. It counts as a heartbeat."""
        with self._database.write() as connection:
            return claims.keep(connection, claim, results)

    def begin_files(self, claim: BatchClaim) -> None:
        """Say that every line is done and the files are made next."""
        with self._database.write() as connection:
            claims.begin_files(connection, claim)

    def end(self, claim: BatchClaim, status: BatchStatus, unasked: Sequence[LineResult] = ()) -> None:
        """Make the files of a batch from its results and end it. `unasked` are errors of lines that never ran."""
        with self._database.write() as connection:
            claims.end(connection, claim, status, unasked)
