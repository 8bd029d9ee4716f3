"""The interface of the task commands to a server or to a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from prompts_store.records import Alias, AliasMove, TaskRecord
from prompts_store.reports import PurgeReport
from server.cli.tasks.publication import CheckpointFiles, EnsemblePublication, Publication, PublishResult

PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One version, with the fields that a server and a database both have. `manifest` is as in `manifest.json`.

    An ensemble has the numbers of its `members`, and no `peft_type`. The manifest stays a JSON object, because the
    server may be of another release.
    """

    version: int
    digest: str
    peft_type: str | None
    num_virtual_tokens: int
    created_at: datetime
    manifest: Mapping[str, Any]
    members: tuple[int, ...]


class TaskBackend(Protocol):
    """The tasks of a server or of a database. Methods raise CliError or prompts_store.errors.StoreError."""

    @property
    def max_tensor_bytes(self) -> int:
        """Maximum number of bytes of a checkpoint's tensors that are read to be published."""

    def list_tasks(self) -> Sequence[TaskRecord]:
        """Return every task, by name."""

    def get_task(self, task: str) -> TaskRecord:
        """Return one task."""

    def list_versions(self, task: str) -> Sequence[VersionSummary]:
        """Return the live versions of a task, newest first."""

    def list_aliases(self, task: str) -> Sequence[Alias]:
        """Return the aliases of a task, by name."""

    def get_version(self, reference: str) -> VersionSummary:
        """Return the version that a task reference means (`task`, `task@3`, `task@canary`)."""

    def publish(self, publication: Publication) -> PublishResult:
        """Publish a checkpoint as a new version. Create the task if it does not exist."""

    def publish_ensemble(self, publication: EnsemblePublication) -> PublishResult:
        """Publish an ensemble as a new version of an existing task."""

    def set_alias(self, alias: Alias, reason: str) -> Alias:
        """Move an alias from its present targets to these, or create it. Targets are not yet checked."""

    def delete_alias(self, task: str, alias: str, reason: str) -> None:
        """Delete an alias. Its history stays."""

    def rollback(self, task: str, alias: str, reason: str) -> Alias:
        """Undo the last move of an alias."""

    def history(self, task: str, alias: str) -> Sequence[AliasMove]:
        """Return the latest moves of an alias, newest first."""

    def retire(self, task: str, version: int) -> None:
        """Retire a version that no alias and no ensemble names."""

    def delete(self, task: str) -> None:
        """Delete a task with all its versions and aliases."""

    def purge(self, task: str) -> PurgeReport:
        """Delete a task, or take one deleted before, and remove all its data for good."""

    def read_files(self, task: str, version: int) -> CheckpointFiles:
        """Return a version as a PEFT checkpoint."""

    def time_text(self, moment: datetime) -> str:
        """Return a time as `--json` prints it: as the server writes it, or to the second from a database."""
