"""Files and tuning jobs in the store: every public operation is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from prompts_store.checkpoint_records import ParsedCheckpoint
from prompts_store.manifest import Manifest
from prompts_store.names import PRODUCTION, check_not_reserved, check_task_name
from prompts_store.publish import draft_version, publish
from prompts_store.records import AliasTarget, Published
from prompts_store.sql import aliases, changes, tasks
from prompts_store.sql.alias_history import Author, Place
from prompts_store.sql.batches import batches
from prompts_store.sql.tuning import files, job_claims, job_log, jobs, plots
from prompts_store.sql.versions import VersionDraft
from prompts_store.store import Store
from prompts_store.tuning_errors import TaskDeleted
from prompts_store.tuning_records import (
    ALL_FILES,
    FileAccess,
    FileRecord,
    Heartbeat,
    JobCheckpoint,
    JobClaim,
    JobError,
    JobEvent,
    JobOutcome,
    JobProgress,
    JobRecord,
    JobStatus,
    NewEvent,
    NewJob,
    Promotion,
    StateAtFailure,
)

_CHECKPOINTABLE = (JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.QUEUED, JobStatus.FAILED)


class TuningStore:
    """Files, jobs, their events and checkpoints, in a store's database. Synchronous, and safe for many threads.

    Every method may raise StoreUnavailable. A write with a claim raises ClaimLost if the job has a later claim, or a
    status in which nobody works on it. Limits of pages are positive.
    """

    def __init__(self, store: Store) -> None:
        self._database = store.database
        self._max_tensor_bytes = store.max_tensor_bytes

    # --- files --------------------------------------------------------------------------------------------------------

    def add_file(self, filename: str, purpose: str, chunks: Iterable[bytes], *, actor: str = "") -> FileRecord:
        """Store a file from its chunks, wholly or not at all. The chunks should be ready: nobody else can write."""
        with self._database.write() as connection:
            return files.add(connection, filename, purpose, chunks, actor)

    def list_files(
        self,
        *,
        after: int | None = None,
        limit: int = 100,
        purpose: str | None = None,
        newest_first: bool = True,
        access: FileAccess = ALL_FILES,
    ) -> tuple[FileRecord, ...]:
        """Return files: the first `limit` after the id `after`."""
        with self._database.read() as connection:
            return files.page(
                connection, after=after, limit=limit, purpose=purpose, newest_first=newest_first, access=access
            )

    def get_file(self, file_id: int, access: FileAccess = ALL_FILES) -> FileRecord:
        """Return one file. Raises FileNotFound."""
        with self._database.read() as connection:
            return files.get(connection, file_id, access)

    def load_file(self, file_id: int, access: FileAccess = ALL_FILES) -> bytes:
        """Return a file's bytes, verified by their digest. Raises FileNotFound and StoreCorrupt."""
        with self._database.read() as connection:
            return files.content(connection, file_id, access)

    def delete_file(self, file_id: int, access: FileAccess = ALL_FILES) -> None:
        """Remove a file. Raises FileNotFound, and FileInUse while a job or batch that has not ended needs it."""
        with self._database.write() as connection:
            batches.check_unused(connection, file_id, access)
            files.remove(connection, file_id, access)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def create_job(self, job: NewJob, *, max_unfinished: int, actor: str = "") -> JobRecord:
        """Add a job; a server validates its files next. Raises InvalidName, FileNotFound and QueueFull."""
        check_task_name(job.task)
        with self._database.write() as connection:
            return jobs.create(connection, job, max_unfinished=max_unfinished, actor=actor)

    def get_job(self, fingerprint: str, job_id: int) -> JobRecord:
        """Return one job. Raises JobNotFound."""
        with self._database.read() as connection:
            return jobs.get(connection, fingerprint, job_id)

    def list_jobs(self, fingerprint: str, *, before: int | None = None, limit: int = 100) -> tuple[JobRecord, ...]:
        """Return jobs, newest first: the first `limit` below the id `before`."""
        with self._database.read() as connection:
            return jobs.page(connection, fingerprint, before=before, limit=limit)

    def cancel_job(self, fingerprint: str, job_id: int) -> JobRecord:
        """End a job; its server finds that at the next heartbeat. Raises JobNotFound and JobStatusConflict."""
        with self._database.write() as connection:
            return jobs.cancel(connection, fingerprint, job_id)

    def pause_job(self, fingerprint: str, job_id: int) -> JobRecord:
        """Pause a queued or running job. Raises JobNotFound and JobStatusConflict."""
        with self._database.write() as connection:
            return jobs.pause(connection, fingerprint, job_id)

    def resume_job(self, fingerprint: str, job_id: int, *, max_unfinished: int | None = None) -> JobRecord:
        """Put a paused job into the queue again, or a failed one that still has a state and its files.

        Raises JobNotFound, JobStatusConflict for any other job, and QueueFull for a failed one if `max_unfinished` jobs
        have not ended.
        """
        with self._database.write() as connection:
            return jobs.resume(connection, fingerprint, job_id, max_unfinished)

    def list_events(
        self, fingerprint: str, job_id: int, *, before: int | None = None, limit: int = 100
    ) -> tuple[JobEvent, ...]:
        """Return a job's events, newest first: the first `limit` below the id `before`. Raises JobNotFound."""
        with self._database.read() as connection:
            jobs.get(connection, fingerprint, job_id)
            return job_log.events(connection, job_id, before=before, limit=limit)

    def list_checkpoints(
        self, fingerprint: str, job_id: int, *, before: int | None = None, limit: int = 100
    ) -> tuple[JobCheckpoint, ...]:
        """Return a job's checkpoints, newest first. Raises JobNotFound."""
        with self._database.read() as connection:
            jobs.get(connection, fingerprint, job_id)
            return job_log.checkpoints(connection, job_id, before=before, limit=limit)

    def load_plot(self, fingerprint: str, task: str, version: int) -> bytes:
        """Return a live version's plot, a PNG. Raises TaskNotFound, VersionNotFound and PlotNotFound."""
        with self._database.read() as connection:
            return plots.get(connection, fingerprint, task, version)

    # --- working on jobs ----------------------------------------------------------------------------------------------

    def claim_job(self, fingerprint: str, status: JobStatus, owner: str) -> tuple[JobClaim, JobRecord] | None:
        """Claim the oldest job that waits to be validated, or that is queued and now runs. Return None without one."""
        with self._database.read() as connection:  # polled: a write begins only for a job that is there
            if not job_claims.has_waiting(connection, fingerprint, status):
                return None
        with self._database.write() as connection:
            return job_claims.claim_next(connection, fingerprint, status, owner)

    def heartbeats(self, fingerprint: str) -> tuple[Heartbeat, ...]:
        """Return the heartbeats of all claimed jobs."""
        with self._database.read() as connection:
            return job_claims.heartbeats(connection, fingerprint)

    def take_over(self, stale: Heartbeat, hopeless: JobError) -> JobStatus | None:
        """End the claim of a job that has not beaten since `stale`. Return its new status, or None if it has beaten.

        The job fails with `hopeless` if `MAX_FRUITLESS_CLAIMS` servers in a row have stopped while they worked on it.
        """
        with self._database.write() as connection:
            return job_claims.take_over(connection, stale, hopeless)

    def beat(self, claim: JobClaim, events: Sequence[NewEvent] = (), progress: JobProgress | None = None) -> None:
        """Write a heartbeat, with the events since the last one and the progress."""
        with self._database.write() as connection:
            job_claims.beat(connection, claim, events, progress)

    def mark_valid(self, claim: JobClaim, events: Sequence[NewEvent] = ()) -> None:
        """Put a job whose files are valid into the queue."""
        with self._database.write() as connection:
            job_claims.validated(connection, claim, events)

    def release_job(self, claim: JobClaim, events: Sequence[NewEvent] = ()) -> None:
        """End a claim in order, so that any server can continue the job."""
        with self._database.write() as connection:
            job_claims.release(connection, claim, events)

    def fail_job(
        self,
        claim: JobClaim,
        error: JobError,
        events: Sequence[NewEvent] = (),
        *,
        state: StateAtFailure = StateAtFailure.RESUMABLE,
    ) -> None:
        """End a job with an error. `state` decides about its saved state, from which `resume_job` continues it."""
        with self._database.write() as connection:
            job_claims.fail(connection, claim, error, events, state=state)

    def save_checkpoint(
        self,
        claim: JobClaim,
        step: int,
        metrics: Mapping[str, Any],
        state: bytes,
        events: Sequence[NewEvent] = (),
        *,
        is_progress: bool = False,
    ) -> None:
        """Save a state to resume from, with the events before it. The job may have been paused or have failed.

        With `is_progress` the state is a later one than the last, even if its step is not.
        """
        with self._database.write() as connection:
            found = job_claims.held(connection, claim, _CHECKPOINTABLE)
            job_claims.note_progress(connection, found.id, step, is_progress=is_progress)
            job_log.save_checkpoint(connection, found.id, step, metrics, state)
            if found.status == JobStatus.RUNNING:  # no beat can be written while a large state is
                job_claims.beat(connection, claim, events, None)
            else:
                job_log.append(connection, found.id, events)

    def load_checkpoint(self, claim: JobClaim) -> bytes | None:
        """Return the state to resume a job from, None without one. Raises StoreCorrupt."""
        with self._database.read() as connection:
            return job_log.latest_state(connection, claim.job_id)

    def latest_metrics(self, claim: JobClaim) -> Mapping[str, Any]:
        """Return the metrics of a job's latest checkpoint."""
        with self._database.read() as connection:
            found = job_log.checkpoints(connection, claim.job_id, before=None, limit=1)
        return found[0].metrics if found else {}

    def publish(
        self,
        task: str,
        checkpoint: ParsedCheckpoint,
        manifest: Manifest,
        promotion: Promotion,
        *,
        begun_at: int,
        plot: bytes | None = None,
        actor: str = "",
    ) -> Published:
        """Publish a version that was tuned without a job, and promote it if `promotion` wants that.

        The promotion is skipped if the alias has moved since its etag was read. `begun_at` is the store's revision when
        tuning began. Raises TaskDeleted if the task was deleted since then, NameReserved, InvalidManifest,
        CheckpointTooLarge and InvalidTaskIndex.
        """
        check_task_name(task)
        base = checkpoint.base
        check_not_reserved(task, base.names)
        draft = draft_version(checkpoint, manifest, actor=actor, max_tensor_bytes=self._max_tensor_bytes)
        with self._database.write() as connection:
            if changes.was_deleted(connection, base.fingerprint, task, begun_at):
                raise TaskDeleted(f'The task "{task}" was deleted while it was tuned, so nothing is published to it.')
            published = _publish(connection, base.fingerprint, task, draft, promotion)
            if plot is not None:
                plots.put(connection, base.fingerprint, task, published.version.version, plot)
            return published

    def complete_job(
        self,
        claim: JobClaim,
        task: str,
        checkpoint: ParsedCheckpoint,
        outcome: JobOutcome,
        events: Sequence[NewEvent] = (),
        *,
        actor: str,
    ) -> Published:
        """Publish the version of a job, promote it as `publish` does, and end the job, in one transaction.

        Raises NameReserved, InvalidManifest, CheckpointTooLarge and InvalidTaskIndex.
        """
        base = checkpoint.base
        check_not_reserved(task, base.names)
        draft = draft_version(checkpoint, outcome.manifest, actor=actor, max_tensor_bytes=self._max_tensor_bytes)
        with self._database.write() as connection:
            job_claims.held(connection, claim, (JobStatus.RUNNING,))
            published = _publish(connection, base.fingerprint, task, draft, outcome.promotion)
            number = published.version.version
            if outcome.plot is not None:
                plots.put(connection, base.fingerprint, task, number, outcome.plot)
            metrics = dict(outcome.metrics)
            job_claims.succeed(connection, claim, number, outcome.trained_tokens, metrics)
            job_log.append(connection, claim.job_id, [*events, _publication_event(published, outcome.promotion)])
            return published


def _publish(
    connection: Connection, fingerprint: str, task: str, draft: VersionDraft, promotion: Promotion
) -> Published:
    published = publish(
        connection,
        fingerprint,
        task,
        draft,
        promote=False,
        description="",
        first_is_production=not promotion.is_refused,
    )
    if not promotion.is_wanted or promotion.is_refused or published.promoted:
        return published
    key = aliases.key(connection, fingerprint, task, PRODUCTION)
    if aliases.etag(connection, key) != promotion.etag:
        return published
    number = published.version.version
    place = Place((AliasTarget(number),))
    author = Author(draft.actor, promotion.reason)
    aliases.put(connection, key, place, if_match=promotion.etag, must_not_exist=promotion.etag is None, author=author)
    promoted = tasks.get(connection, fingerprint, task).production_version == number
    return Published(published.version, published.created, promoted)


def _publication_event(published: Published, promotion: Promotion) -> NewEvent:
    version = published.version
    data = {
        "task": version.task,
        "version": version.version,
        "digest": version.digest,
        "created": published.created,
        "promoted": published.promoted,
    }
    text = f"The job made version {version.version} of task {version.task}"
    if not published.created:
        text = f"The job came to what version {version.version} of task {version.task} already is"
    if published.promoted:
        text += ", which is in production"
    elif promotion.is_wanted and not promotion.is_refused:
        text += "; production has been moved meanwhile, so it stays where it is"
    return NewEvent(f"{text}.", data=data)
