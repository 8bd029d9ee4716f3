"""Records that the store takes and returns: frozen, without SQL and without bytes of a wire format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from prompts_store.checkpoint_records import Checkpoint, PeftType, ResolvedPrefix, TaskType
from prompts_store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task: a name within one base model. `latest_version` is the highest live number, None without one."""

    name: str
    description: str
    created_at: datetime
    latest_version: int | None
    production_version: int | None


@dataclass(frozen=True, slots=True)
class EnsembleMember:
    """A member of an ensemble: a version with tensors, of the same task."""

    version: int
    digest: str
    prefix_digest: str


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """An immutable version. `digest` is its content digest; its residency is keyed by `prefix_digest`.

    An ensemble has `members`, in its own order, instead of a `prefix_digest` and a `peft_type`; its
    `num_virtual_tokens` are those of the longest member. `base_name` is the base model that the checkpoint names ("" if
    none); `base_mismatch` says that the publisher accepted a name that is not the base model's. `task_type` None stands
    for the generating type of its base model.
    """

    task: str
    version: int
    digest: str
    prefix_digest: str | None
    peft_type: PeftType | None
    num_virtual_tokens: int
    base_fingerprint: str
    base_name: str
    manifest: Manifest
    created_at: datetime
    created_by: str
    retired_at: datetime | None
    base_mismatch: bool = False
    members: tuple[EnsembleMember, ...] = ()
    task_type: TaskType | None = None

    @property
    def has_head(self) -> bool:
        """Whether it answers from hidden states, and generates no text."""
        return self.task_type is not None and self.task_type.has_head

    @property
    def head_type(self) -> TaskType | None:
        """The task type of a version with a head; None of one that generates text."""
        return self.task_type if self.has_head else None

    @property
    def is_ensemble(self) -> bool:
        """Whether the version is an ensemble."""
        return self.prefix_digest is None

    @property
    def parts(self) -> tuple[EnsembleMember, ...]:
        """The versions with tensors that answer: an ensemble's members, or the version itself."""
        if self.prefix_digest is None:
            return self.members
        return (EnsembleMember(self.version, self.digest, self.prefix_digest),)


@dataclass(frozen=True, slots=True)
class EnsembleDraft:
    """An ensemble before it has a number: checked and digested."""

    members: tuple[EnsembleMember, ...]
    manifest: Manifest
    num_virtual_tokens: int
    digest: str
    actor: str
    task_type: TaskType | None = None


@dataclass(frozen=True, slots=True, order=True)
class AliasTarget:
    """One of the versions that an alias names. Its share of the callers is `weight` / sum of all weights."""

    version: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for one version, or for a few with weights.

    `targets` are in the order of their versions. An alias with `shadow_of` has one target, which also runs on the
    requests of that alias, for comparison. Requests may also name the shadow itself.
    """

    task: str
    alias: str
    targets: tuple[AliasTarget, ...]
    shadow_of: str | None

    @property
    def version(self) -> int:
        """The version with the highest weight, the older one of equals."""
        return main_version(self.targets)


@dataclass(frozen=True, slots=True)
class AliasRecord(Alias):
    """An alias with its last move. `etag` is opaque and changes with every move (without quotes)."""

    etag: str
    updated_at: datetime
    updated_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a publish. `created` is False if the same content is already a live version.

    `promoted` is True if `production` names the version now.
    """

    version: VersionRecord
    created: bool
    promoted: bool


@dataclass(frozen=True, slots=True, eq=False)
class VersionContent:
    """A version with its tensors, read back and verified."""

    record: VersionRecord
    checkpoint: Checkpoint
    prefix: ResolvedPrefix


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One entry of an alias's history. Targets are empty if the alias did not exist before, or does not exist after."""

    task: str
    alias: str
    from_targets: tuple[AliasTarget, ...]
    to_targets: tuple[AliasTarget, ...]
    shadow_of: str | None
    moved_at: datetime
    moved_by: str
    reason: str

    @property
    def from_version(self) -> int | None:
        """The version named before; among several, the one with the highest weight."""
        return main_version(self.from_targets) if self.from_targets else None

    @property
    def to_version(self) -> int | None:
        """The version named after; among several, the one with the highest weight."""
        return main_version(self.to_targets) if self.to_targets else None


@dataclass(frozen=True, slots=True)
class Resolution:
    """The current meaning of a task reference.

    `versions` is one version, or an alias's versions in the order of its targets. `alias` is None for a reference that
    names a version. `shadow` is the version that runs for comparison, if any.
    """

    versions: tuple[VersionRecord, ...]
    alias: AliasRecord | None
    shadow: VersionRecord | None


def main_version(targets: Sequence[AliasTarget]) -> int:
    """Return the version with the highest weight, the older one of equals. There is at least one target."""
    return min(targets, key=lambda target: (-target.weight, target.version)).version


class ChangeKind(StrEnum):
    """The kind of a change."""

    TASK_CREATED = "task_created"
    TASK_DELETED = "task_deleted"
    TASK_PURGED = "task_purged"
    VERSION_PUBLISHED = "version_published"
    VERSION_RETIRED = "version_retired"
    ALIAS_MOVED = "alias_moved"
    ALIAS_DELETED = "alias_deleted"
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change, with its time and its author. Ids grow in commit order.

    `version`, `alias` and `key` are None where the kind has none; a change of a key has no task ("").
    """

    id: int
    kind: ChangeKind
    fingerprint: str
    task: str
    version: int | None
    alias: str | None
    key: str | None
    changed_at: datetime
    changed_by: str
