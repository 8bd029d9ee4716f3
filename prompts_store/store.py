"""The store: every public operation is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from prompts_store.change_feed import ChangeFeed
from prompts_store.checkpoint_records import ParsedCheckpoint
from prompts_store.ensembles import check_members
from prompts_store.errors import StoreError, StoreUnavailable, TaskExists
from prompts_store.key_store import KeyStore
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest, check_text
from prompts_store.names import PRODUCTION, TaskReference, check_not_reserved, check_task_name
from prompts_store.publish import draft_version, publish, publish_ensemble
from prompts_store.records import (
    AliasMove,
    AliasRecord,
    AliasTarget,
    Published,
    Resolution,
    TaskRecord,
    VersionContent,
    VersionRecord,
)
from prompts_store.reports import PurgeReport
from prompts_store.sql import alias_history, aliases, purge, tasks, tensors, versions
from prompts_store.sql.alias_history import Author, Place
from prompts_store.sql.databases.database import Database
from prompts_store.sql.databases.schema import migrate as migrate_schema
from prompts_store.sql.databases.schema import require_current
from prompts_store.sql.resolve import resolve
from prompts_store.sql.tuning import jobs
from prompts_store.targets import check_shadow, check_targets, choose_version

MAX_DESCRIPTION_LENGTH = 4096
MAX_REASON_LENGTH = 1024
ERASE_TIMEOUT_S = 5.0
"""Maximum time for which a purge waits for readers that still need the removed rows."""


class Store(KeyStore, ChangeFeed):
    """Tasks, versions and aliases in one SQL database; API keys and the feed of its changes with them.

    Synchronous, and safe for many threads and processes at once. Tasks belong to a base model's `fingerprint`. Names
    are checked before they reach SQL (InvalidName); every method may raise StoreUnavailable. `actor` is the author in
    the audit log. Limits of pages are positive.
    """

    def __init__(self, database: Database, *, max_tensor_bytes: int) -> None:
        super().__init__(database)
        self._max_tensor_bytes = max_tensor_bytes

    @classmethod
    def open(cls, url: str, *, migrate: bool | None = None, max_tensor_bytes: int = DEFAULT_MAX_TENSOR_BYTES) -> Self:
        """Open a SQLite file by URL or path, or a PostgreSQL database by URL.

        `migrate` None brings a SQLite file, also a new one, to this release's schema and leaves a PostgreSQL database,
        which other releases may use at the moment, to `maintenance.upgrade`. `max_tensor_bytes` limits what publish
        accepts, counted as float32; what is stored is read whatever its size. Raises SchemaOutdated, SchemaUnsupported
        (both with the database untouched) and StoreUnavailable.
        """
        database = Database(url)
        try:
            if database.migrates_itself if migrate is None else migrate:
                migrate_schema(database)
            else:
                require_current(database)
        except StoreError:
            database.close()
            raise
        return cls(database, max_tensor_bytes=max_tensor_bytes)

    @property
    def max_tensor_bytes(self) -> int:
        """Maximum size of the tensors that publish accepts, as float32."""
        return self._max_tensor_bytes

    @property
    def database(self) -> Database:
        """The database beneath, for maintenance.py."""
        return self._database

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
                raise TaskExists(f'A task "{name}" already exists.')
            return tasks.get(connection, fingerprint, name)

    def list_tasks(
        self, fingerprint: str, *, after: str | None = None, limit: int = 100, only: Sequence[str] | None = None
    ) -> tuple[TaskRecord, ...]:
        """Return the first `limit` tasks after the name `after`, by name. `only` restricts them to these names."""
        if after is not None:
            check_task_name(after)
        with self._database.read() as connection:
            return tasks.page(connection, fingerprint, after, limit, only)

    def get_task(self, fingerprint: str, name: str) -> TaskRecord:
        """Return one task. Raises TaskNotFound."""
        with self._database.read() as connection:
            return tasks.get(connection, fingerprint, name)

    def delete_task(self, fingerprint: str, name: str, *, actor: str = "") -> None:
        """Delete a task: remove its aliases, retire its versions. A later task of this name continues their numbers.

        Its unfinished tuning jobs fail and keep their training state. Raises TaskNotFound.
        """
        with self._database.write() as connection:
            found = tasks.task_id(connection, fingerprint, name)
            aliases.remove_all(connection, found, Author(actor))
            versions.retire_all(connection, found, actor)
            jobs.fail_of_task(connection, fingerprint, name)
            tasks.bury(connection, found, fingerprint, name, actor)

    def purge_task(self, fingerprint: str, name: str, *, actor: str = "") -> PurgeReport:
        """Delete a task, also one deleted before, and remove all it ever held: tensors, texts, metrics, histories, and
        its tuning jobs and the batches with a line for it, with their files.

        Its name, its last version number and its rows in the change feed stay, so that no number is given again.
        Raises TaskNotFound.
        """
        with self._database.write() as connection:
            report = purge.purge(connection, fingerprint, name, actor)
        with suppress(StoreUnavailable):  # what is removed stays removed
            report = replace(report, log_is_clear=self._database.erase_log(ERASE_TIMEOUT_S))
        return report

    # --- versions -----------------------------------------------------------------------------------------------------

    def publish(
        self,
        task: str,
        checkpoint: ParsedCheckpoint,
        manifest: Manifest,
        *,
        promote: bool = False,
        description: str = "",
        actor: str = "",
    ) -> Published:
        """Create a version of a task of the checkpoint's base model, and the task if it does not exist.

        `description` is that of a new task.
        If the same content is already a live version, return that version and ignore the new metrics and note.
        `promote` moves `production` here unconditionally. A task's only live version becomes `production` in any case.
        Raises NameReserved, InvalidManifest, CheckpointTooLarge and InvalidTaskIndex.
        """
        check_task_name(task)
        base = checkpoint.base
        check_not_reserved(task, base.names)
        check_text(description, "description", MAX_DESCRIPTION_LENGTH)
        draft = draft_version(checkpoint, manifest, actor=actor, max_tensor_bytes=self._max_tensor_bytes)
        with self._database.write() as connection:
            return publish(connection, base.fingerprint, task, draft, promote=promote, description=description)

    def publish_ensemble(
        self,
        fingerprint: str,
        task: str,
        members: Sequence[int],
        manifest: Manifest,
        *,
        promote: bool = False,
        actor: str = "",
    ) -> Published:
        """Create an ensemble: a version of a task that combines 2 to 8 of its other versions, listed by number.

        Template, labels, stop strings, special tokens and defaults are the members', and must be equal in all of them.
        The order of the members is content, because it decides a tied vote. `promote` and equal content are as in
        publish.
        Raises TaskNotFound, InvalidMembers and InvalidManifest.
        """
        numbers = check_members(members)
        with self._database.write() as connection:
            return publish_ensemble(connection, fingerprint, task, numbers, manifest, promote=promote, actor=actor)

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

        `include_retired` also finds a retired version, and a version of a deleted task.
        """
        with self._database.read() as connection:
            return versions.record(
                versions.row(connection, fingerprint, task, version, include_retired=include_retired)
            )

    def load_content(
        self, fingerprint: str, task: str, version: int, *, include_retired: bool = False
    ) -> VersionContent:
        """Return a version with its tensors, every digest verified.

        `include_retired` lets a request that resolved a version just before its retirement still load it.
        Raises TaskNotFound, VersionNotFound, NoCheckpoint for an ensemble, and StoreCorrupt.
        """
        with self._database.read() as connection:
            row = versions.row(connection, fingerprint, task, version, include_retired=include_retired)
            tensor_rows = tensors.rows(connection, row)
        return tensors.restore(row, tensor_rows)

    def retire_version(self, fingerprint: str, task: str, version: int, *, actor: str = "") -> VersionRecord:
        """Retire a version.

        Raises TaskNotFound, VersionNotFound, and VersionInUse while an alias or an ensemble names it.
        """
        with self._database.write() as connection:
            return versions.retire(connection, fingerprint, task, version, actor)

    def resolve(self, fingerprint: str, reference: TaskReference, *, sticky_key: bytes | None = None) -> VersionRecord:
        """Return the version that a reference names now. Among several, the key chooses; without one, chance by weight.

        Raises TaskNotFound, VersionNotFound and AliasNotFound.
        """
        return choose_version(self.resolve_all(fingerprint, reference), sticky_key)

    def resolve_all(self, fingerprint: str, reference: TaskReference) -> Resolution:
        """Return the current meaning of a reference. `targets.choose_version` chooses from it later.

        Raises TaskNotFound, VersionNotFound and AliasNotFound.
        """
        with self._database.read() as connection:
            return resolve(connection, fingerprint, reference)

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
        targets: int | Sequence[AliasTarget],
        *,
        if_match: str | None,
        must_not_exist: bool,
        shadow_of: str | None = None,
        actor: str = "",
        reason: str = "",
    ) -> AliasRecord:
        """Move an alias to a version or to a few with weights, or create it. Every accepted call gives a new etag.

        `if_match` is the etag that the alias must have ("*": any), None for no condition. `must_not_exist` requires a
        new alias. With `shadow_of`, the alias becomes the only shadow of another alias of the task; without it, an
        ordinary alias again. Several versions are of one task type; a shadow may be of another than what it shadows.
        Raises TaskNotFound, VersionNotFound, PreconditionFailed, InvalidTargets, ShadowExists, and InvalidManifest for
        the reason.
        """
        place = Place(check_targets(targets), shadow_of)
        check_shadow(alias, shadow_of, place.targets)
        author = _author(actor, reason)
        with self._database.write() as connection:
            key = aliases.key(connection, fingerprint, task, alias)
            return aliases.put(connection, key, place, if_match=if_match, must_not_exist=must_not_exist, author=author)

    def delete_alias(
        self, fingerprint: str, task: str, alias: str, *, if_match: str | None, actor: str = "", reason: str = ""
    ) -> None:
        """Delete an alias; its history stays. Raises TaskNotFound, AliasNotFound and PreconditionFailed."""
        author = _author(actor, reason)
        with self._database.write() as connection:
            aliases.remove(
                connection, aliases.key(connection, fingerprint, task, alias), if_match=if_match, author=author
            )

    def alias_history(self, fingerprint: str, task: str, alias: str, *, limit: int = 100) -> tuple[AliasMove, ...]:
        """Return the last `limit` moves of an alias, newest first. Raises TaskNotFound and AliasNotFound."""
        with self._database.read() as connection:
            return alias_history.history(connection, aliases.key(connection, fingerprint, task, alias), limit)

    def rollback(
        self, fingerprint: str, task: str, alias: str = PRODUCTION, *, actor: str = "", reason: str = ""
    ) -> AliasRecord:
        """Undo the last move of an alias, with all its targets. A second call undoes the move before it.

        Skips moves to a version that is retired now, or to several of different task types. Raises TaskNotFound,
        AliasNotFound, NoPreviousVersion and ShadowExists.
        """
        author = _author(actor, reason)
        with self._database.write() as connection:
            return aliases.rollback(connection, aliases.key(connection, fingerprint, task, alias), author)


def _author(actor: str, reason: str) -> Author:
    check_text(reason, "reason", MAX_REASON_LENGTH)
    return Author(actor, reason)
