"""The parameters and the result of publishing a checkpoint or an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prompts_store.checkpoint.left_out import FileEntries


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """The two files of a PEFT checkpoint, as bytes. `tensors` lacks what is `left_out` already, if anything is."""

    config: bytes
    tensors: bytes
    left_out: FileEntries | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """A checkpoint to publish as a new version. `manifest` is not yet checked.

    `description` is the task's own. It is used only if the task is new.
    """

    task: str
    description: str
    files: CheckpointFiles
    manifest: Mapping[str, Any]
    allow_base_mismatch: bool
    promote: bool


@dataclass(frozen=True, slots=True)
class EnsemblePublication:
    """An ensemble to publish, of versions that its task has. `manifest` is not yet checked."""

    task: str
    members: tuple[int, ...]
    manifest: Mapping[str, Any]
    promote: bool


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The version that a publication led to. `created` is False if the task already had this content.

    `notes` are lines for the publisher about what was left out of the files.
    """

    task: str
    version: int
    digest: str
    created: bool
    notes: tuple[str, ...] = ()
