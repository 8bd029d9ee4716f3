"""The seam of the task commands: what they ask, whoever answers it (a server or a database)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.cli.tasks.views import (
    AliasPlace,
    AliasView,
    CheckpointFiles,
    EnsemblePublication,
    MoveView,
    Publication,
    PublishedView,
    PurgedView,
    TaskView,
    VersionView,
)

PRODUCTION = "production"


class TaskBackend(Protocol):
    """Where tasks live. Methods raise CliError or prompts_store.errors.StoreError, with a message for the user."""

    @property
    def max_tensor_bytes(self) -> int:
        """Most bytes of a checkpoint's tensors that are read to be published."""

    def list_tasks(self) -> Sequence[TaskView]:
        """Return every task, by name."""

    def get_task(self, task: str) -> TaskView:
        """Return one task."""

    def list_versions(self, task: str) -> Sequence[VersionView]:
        """Return the live versions of a task, newest first."""

    def list_aliases(self, task: str) -> Sequence[AliasView]:
        """Return the aliases of a task, by name."""

    def get_version(self, reference: str) -> VersionView:
        """Return the version that a task reference means (`task`, `task@3`, `task@canary`)."""

    def publish(self, publication: Publication) -> PublishedView:
        """Make a new version, and the task where it is missing."""

    def publish_ensemble(self, publication: EnsemblePublication) -> PublishedView:
        """Make a new version of an existing task, by which other versions of it answer together."""

    def set_alias(self, place: AliasPlace) -> AliasView:
        """Move an alias from where it is now, or create it."""

    def delete_alias(self, task: str, alias: str, reason: str) -> None:
        """Delete an alias; its history stays."""

    def rollback(self, task: str, alias: str, reason: str) -> AliasView:
        """Undo the last move of an alias."""

    def history(self, task: str, alias: str) -> Sequence[MoveView]:
        """Return the latest moves of an alias, newest first."""

    def retire(self, task: str, version: int) -> None:
        """Retire a version that no alias and no ensemble names."""

    def delete(self, task: str) -> None:
        """Delete a task with all its versions and aliases."""

    def purge(self, task: str) -> PurgedView:
        """Delete a task, also one deleted before, and remove all it ever held."""

    def read_files(self, task: str, version: int) -> CheckpointFiles:
        """Return a version as a PEFT checkpoint."""
