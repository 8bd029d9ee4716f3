"""The store: every public operation is one transaction."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from prompts_store.checkpoint_reader import MAX_TENSOR_BYTES
from prompts_store.errors import StoreError, TaskExists
from prompts_store.manifest import check_text
from prompts_store.names import PRODUCTION, TaskReference, check_not_reserved, check_task_name
from prompts_store.publish import draft_version, publish
from prompts_store.records import (
    AliasMove,
    AliasRecord,
    BaseModel,
    Change,
    Checkpoint,
    Manifest,
    Published,
    TaskRecord,
    VersionContent,
    VersionRecord,
)
from prompts_store.sql import aliases, changes, tasks, tensors, versions
from prompts_store.sql.database import Database
from prompts_store.sql.schema import migrate

MAX_DESCRIPTION_LENGTH = 4096


class Store:
    """Tasks, versions and aliases in one SQL database.

    Synchronous, and safe for many threads and processes at once. Tasks belong to a base model's `fingerprint`. Names
    are checked before they go near SQL (InvalidName); every method may raise StoreUnavailable. `actor` is who did it,
    for the record. Limits of pages are positive.
    """

    def __init__(self, database: Database, *, max_tensor_bytes: int) -> None:
        self._database = database
        self._max_tensor_bytes = max_tensor_bytes

    @classmethod
    def open(cls, url: str, *, max_tensor_bytes: int = MAX_TENSOR_BYTES) -> Self:
        """Open a SQLite database by URL or path; a new file is created and an old one migrated.

        `max_tensor_bytes` limits what publish accepts, counted as float32. Raises SchemaUnsupported, with the database
        untouched, and StoreUnavailable.
        """
        database = Database(url)
        try:
            migrate(database)
        except StoreError:
            database.close()
            raise
        return cls(database, max_tensor_bytes=max_tensor_bytes)

    def close(self) -> None:
        """Close the database. Calls in other threads must have ended."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- tasks --------------------------------------------------------------------------------------------------------

    def bases(self) -> tuple[str, ...]:
        """Return the fingerprints of the base models that have tasks."""
        with self._database.read() as connection:
            return tasks.fingerprints(connection)

    def create_task(self, fingerprint: str, name: str, description: str = "", *, actor: str = "") -> TaskRecord:
        """Create a task without versions. Raises TaskExists, and InvalidManifest for the description."""
        check_task_name(name)
        check_text(description, "description", MAX_DESCRIPTION_LENGTH)
        with self._database.write() as connection:
            if tasks.create(connection, fingerprint, name, description, actor) is None:
                raise TaskExists(f'There is a task "{name}" already.')
            return tasks.get(connection, fingerprint, name)

    def list_tasks(self, fingerprint: str, *, after: str | None = None, limit: int = 100) -> tuple[TaskRecord, ...]:
        """Return tasks by name: the first `limit` after the name `after`."""
        if after is not None:
            check_task_name(after)
        with self._database.read() as connection:
            return tasks.page(connection, fingerprint, after, limit)

    def get_task(self, fingerprint: str, name: str) -> TaskRecord:
        """Return one task. Raises TaskNotFound."""
        with self._database.read() as connection:
            return tasks.get(connection, fingerprint, name)

    def delete_task(self, fingerprint: str, name: str, *, actor: str = "") -> None:
        """Delete a task: its aliases go, its versions are retired; a task of this name continues their numbers.

        Raises TaskNotFound.
        """
        with self._database.write() as connection:
            found = tasks.task_id(connection, fingerprint, name)
            aliases.remove_all(connection, found, actor)
            versions.retire_all(connection, found, actor)
            tasks.bury(connection, found, fingerprint, name, actor)

    # --- versions -----------------------------------------------------------------------------------------------------

    def publish(
        self,
        base: BaseModel,
        task: str,
        checkpoint: Checkpoint,
        manifest: Manifest,
        *,
        promote: bool = False,
        description: str = "",
        actor: str = "",
    ) -> Published:
        """Make a version of a task, and the task if it is missing (`description` is then its own).

        Content that is a live version already answers with that version, its metrics and note ignored. `promote` moves
        `production` here unconditionally; a task's only live version becomes `production` in any case.
        Raises NameReserved, InvalidManifest and InvalidCheckpoint.
        """
        check_task_name(task)
        check_not_reserved(task, base.names)
        check_text(description, "description", MAX_DESCRIPTION_LENGTH)
        draft = draft_version(base, checkpoint, manifest, actor=actor, max_tensor_bytes=self._max_tensor_bytes)
        with self._database.write() as connection:
            return publish(connection, base.fingerprint, task, draft, promote=promote, description=description)

    def list_versions(
        self,
        fingerprint: str,
        task: str,
        *,
        include_retired: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[VersionRecord, ...]:
        """Return versions, newest first: the first `limit` below the number `before`. Raises TaskNotFound."""
        with self._database.read() as connection:
            return versions.page(
                connection, fingerprint, task, include_retired=include_retired, before=before, limit=limit
            )

    def get_version(self, fingerprint: str, task: str, version: int, *, include_retired: bool = False) -> VersionRecord:
        """Return one version. Raises TaskNotFound, and VersionNotFound for a retired one.

        `include_retired` looks through tombstones: those of versions and that of the task.
        """
        with self._database.read() as connection:
            return versions.record(
                versions.row(connection, fingerprint, task, version, include_retired=include_retired)
            )

    def load_content(
        self, fingerprint: str, task: str, version: int, *, include_retired: bool = False
    ) -> VersionContent:
        """Return a version with its tensors, every digest verified.

        With `include_retired`, who resolved a version just before it was retired still gets it.
        Raises TaskNotFound, VersionNotFound and StoreCorrupt.
        """
        with self._database.read() as connection:
            row = versions.row(connection, fingerprint, task, version, include_retired=include_retired)
            tensor_rows = tensors.rows(connection, row.id)
        return tensors.restore(row, tensor_rows)

    def retire_version(self, fingerprint: str, task: str, version: int, *, actor: str = "") -> VersionRecord:
        """Retire a version. Raises TaskNotFound, VersionNotFound, and VersionInUse while an alias names it."""
        with self._database.write() as connection:
            return versions.retire(connection, fingerprint, task, version, actor)

    def resolve(self, fingerprint: str, reference: TaskReference) -> VersionRecord:
        """Return the version that a reference names now. Raises TaskNotFound, VersionNotFound and AliasNotFound."""
        with self._database.read() as connection:
            if reference.alias is not None:
                row = versions.row_by_alias(connection, fingerprint, reference.task, reference.alias)
            else:
                assert reference.version is not None
                row = versions.row(connection, fingerprint, reference.task, reference.version)
            return versions.record(row)

    # --- aliases ------------------------------------------------------------------------------------------------------

    def list_aliases(self, fingerprint: str, task: str) -> tuple[AliasRecord, ...]:
        """Return a task's aliases by name. Raises TaskNotFound."""
        with self._database.read() as connection:
            return aliases.all_of(connection, fingerprint, task)

    def get_alias(self, fingerprint: str, task: str, alias: str) -> AliasRecord:
        """Return one alias. Raises TaskNotFound and AliasNotFound."""
        with self._database.read() as connection:
            return aliases.get(connection, aliases.key(connection, fingerprint, task, alias))

    def put_alias(
        self,
        fingerprint: str,
        task: str,
        alias: str,
        version: int,
        *,
        if_match: str | None,
        must_not_exist: bool,
        actor: str = "",
    ) -> AliasRecord:
        """Move an alias, or create it; every accepted call gives a new etag.

        `if_match` is the etag the alias must have ("*": any), None for no condition; `must_not_exist` demands that it
        is new. Raises TaskNotFound, VersionNotFound and PreconditionFailed.
        """
        with self._database.write() as connection:
            key = aliases.key(connection, fingerprint, task, alias)
            return aliases.put(connection, key, version, if_match=if_match, must_not_exist=must_not_exist, actor=actor)

    def delete_alias(self, fingerprint: str, task: str, alias: str, *, if_match: str | None, actor: str = "") -> None:
        """Delete an alias; its history stays. Raises TaskNotFound, AliasNotFound and PreconditionFailed."""
        with self._database.write() as connection:
            aliases.remove(
                connection, aliases.key(connection, fingerprint, task, alias), if_match=if_match, actor=actor
            )

    def alias_history(self, fingerprint: str, task: str, alias: str, *, limit: int = 100) -> tuple[AliasMove, ...]:
        """Return the last `limit` moves of an alias, newest first. Raises TaskNotFound and AliasNotFound."""
        with self._database.read() as connection:
            return aliases.history(connection, aliases.key(connection, fingerprint, task, alias), limit)

    def rollback(self, fingerprint: str, task: str, alias: str = PRODUCTION, *, actor: str = "") -> AliasRecord:
        """Undo an alias's last move; again, the one before it. Versions retired since are passed over.

        Raises TaskNotFound, AliasNotFound and NoPreviousVersion.
        """
        with self._database.write() as connection:
            return aliases.rollback(connection, aliases.key(connection, fingerprint, task, alias), actor)

    # --- changes ------------------------------------------------------------------------------------------------------

    def revision(self) -> int:
        """Return the id of the last committed change, 0 for an empty store: cheap to poll."""
        with self._database.read() as connection:
            return changes.tail(connection)

    def changes_since(self, revision: int, limit: int) -> tuple[Change, ...]:
        """Return the first `limit` changes after `revision`, in commit order."""
        with self._database.read() as connection:
            return changes.since(connection, revision, limit)
