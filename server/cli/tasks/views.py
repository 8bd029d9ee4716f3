"""What the task commands show and send, the same from a server and from a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task at a glance."""

    name: str
    description: str
    latest_version: int | None
    production_version: int | None


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version. `created_at` is ISO 8601; `manifest` is as `manifest.json` has it.

    An ensemble has the numbers of its `members`, and no `peft_type`.
    """

    version: int
    digest: str
    peft_type: str | None
    num_virtual_tokens: int
    created_at: str
    manifest: Mapping[str, Any]
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TargetView:
    """One of the versions that an alias names. Of the sum of all weights, its weight is its share of the callers."""

    version: int
    weight: int


@dataclass(frozen=True, slots=True)
class AliasView:
    """Where an alias points; `version` is the target of the highest weight."""

    task: str
    alias: str
    version: int
    targets: tuple[TargetView, ...]
    shadow_of: str | None


@dataclass(frozen=True, slots=True)
class AliasPlace:
    """Where an alias is to point, and why. Targets are not yet checked."""

    task: str
    alias: str
    targets: tuple[TargetView, ...]
    shadow_of: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MoveView:
    """One move of an alias; targets are empty where it did not exist. `moved_at` is ISO 8601."""

    alias: str
    from_targets: tuple[TargetView, ...]
    to_targets: tuple[TargetView, ...]
    shadow_of: str | None
    moved_at: str
    moved_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class PurgedView:
    """What a purge removed for good; `num_shared_tensors` stay, as other tasks have the same bytes."""

    task: str
    num_versions: int
    num_tensors: int
    num_tensor_bytes: int
    num_shared_tensors: int
    num_alias_moves: int
    num_jobs: int
    num_files: int
    log_is_clear: bool
    num_interrupted_runs: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """The two files of a PEFT checkpoint, as bytes."""

    config: bytes
    tensors: bytes


@dataclass(frozen=True, slots=True)
class Publication:
    """A version to be: what `softprompt task publish` hands over. `manifest` is not yet checked.

    `description` is the task's own, and counts only where the task is new.
    """

    task: str
    description: str
    files: CheckpointFiles
    manifest: Mapping[str, Any]
    allow_base_mismatch: bool
    promote: bool


@dataclass(frozen=True, slots=True)
class EnsemblePublication:
    """An ensemble to be, of versions that its task has. `manifest` is not yet checked."""

    task: str
    members: tuple[int, ...]
    manifest: Mapping[str, Any]
    promote: bool


@dataclass(frozen=True, slots=True)
class PublishedView:
    """The answer to a publication. `created` is False where the task already had this content."""

    task: str
    version: int
    digest: str
    created: bool
