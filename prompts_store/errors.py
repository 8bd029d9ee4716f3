"""Exceptions of the store. Every class has a stable `code`; every message is written for the caller.

The tree goes on in tuning_errors.py, with files and tuning jobs, and in batch_errors.py.

StoreError
├── NotFound
│   ├── TaskNotFound
│   ├── VersionNotFound
│   ├── AliasNotFound
│   ├── KeyNotFound
│   └── NoCheckpoint           the version is an ensemble and has no tensors of its own
├── Conflict
│   ├── TaskExists
│   ├── KeyExists              a key has or had this name
│   ├── VersionInUse           an alias or an ensemble still names the version
│   ├── NameReserved           the base model bears this name
│   ├── NoPreviousVersion      nothing to roll back to
│   ├── ShadowExists           the alias has another shadow already
│   ├── StoreNotEmpty          a backup is restored only into an empty store
│   └── BackupExists           a file of this name is there already
├── PreconditionFailed         the alias has moved, exists or is gone, contrary to the caller's condition
├── InvalidName
├── InvalidKey                 `param` names the field
├── InvalidTargets             an alias's versions and weights, or what it shadows
├── InvalidMembers             the versions that an ensemble lists
├── InvalidManifest            `param` names the field
├── InvalidCheckpoint          `param` names the file, or the field of the manifest
│   ├── UnsupportedPeftType
│   ├── UnsupportedTaskType
│   ├── MalformedConfig
│   ├── MalformedTensors
│   ├── ShapeMismatch
│   ├── NotFinite
│   ├── BaseMismatch
│   ├── EmbeddingMismatch
│   ├── InvalidTaskIndex
│   └── CheckpointTooLarge
├── InvalidFolder              a file of a version's folder cannot be read; the message has its path
├── BackupUnreadable           a file to restore from is no whole soft prompt store
├── ValueTooLarge              the database has no room for a value of this size
├── StoreCorrupt               stored data does not agree with its digest
├── SchemaOutdated             the database is an older release's and does not migrate by itself
├── SchemaUnsupported          the database is a newer release's, or none of ours; it was not touched
└── StoreUnavailable           the database cannot be reached; the cause is chained
    └── StoreFull              there is no room to write; reading goes on
"""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """Base of all errors of the store."""

    code: ClassVar[str] = "store_error"


class NotFound(StoreError):
    """The requested thing does not exist."""

    code = "not_found"


class TaskNotFound(NotFound):
    """No live task has this name."""

    code = "task_not_found"


class VersionNotFound(NotFound):
    """The task has no live version of this number."""

    code = "version_not_found"


class AliasNotFound(NotFound):
    """The task has no alias of this name."""

    code = "alias_not_found"


class KeyNotFound(NotFound):
    """No API key has this name."""

    code = "key_not_found"


class NoCheckpoint(NotFound):
    """The version is an ensemble, so it has no checkpoint."""

    code = "no_checkpoint"


class Conflict(StoreError):
    """The request contradicts what the store holds."""

    code = "conflict"


class TaskExists(Conflict):
    """A live task has this name."""

    code = "task_exists"


class KeyExists(Conflict):
    """An API key has this name, or had it."""

    code = "key_exists"


class VersionInUse(Conflict):
    """The version cannot be retired while an alias or an ensemble names it."""

    code = "version_in_use"


class NameReserved(Conflict):
    """A task may not bear a name of the base model."""

    code = "name_reserved"


class NoPreviousVersion(Conflict):
    """The alias has no earlier live version to go back to."""

    code = "no_previous_version"


class ShadowExists(Conflict):
    """Another alias is the shadow of this one already."""

    code = "shadow_exists"


class StoreNotEmpty(Conflict):
    """The store holds tasks, or once did; a backup would mix with them."""

    code = "store_not_empty"


class BackupExists(Conflict):
    """There is a file where the backup should go."""

    code = "backup_exists"


class PreconditionFailed(StoreError):
    """The alias has moved, exists or is gone, contrary to the caller's condition."""

    code = "precondition_failed"


class InvalidName(StoreError):
    """A task name, alias name or task reference is outside the pattern."""

    code = "invalid_name"


class InvalidKey(StoreError):
    """A field of an API key is invalid; `param` names it."""

    code = "invalid_key"

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class InvalidTargets(StoreError):
    """An alias cannot have these targets or be a shadow in this way."""

    code = "invalid_targets"


class InvalidMembers(StoreError):
    """These versions cannot form an ensemble."""

    code = "invalid_members"


class InvalidManifest(StoreError):
    """A field of the manifest is invalid; `param` names it, such as `manifest.labels`."""

    code = "invalid_manifest"

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class InvalidCheckpoint(StoreError):
    """The checkpoint is refused. `param` is `adapter_config`, `adapter_model` or a field of the manifest."""

    code = "invalid_checkpoint"

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedPeftType(InvalidCheckpoint):
    """The checkpoint is none of PEFT's prompt-learning types."""

    code = "unsupported_peft_type"


class UnsupportedTaskType(InvalidCheckpoint):
    """The checkpoint was not trained for causal language modelling."""

    code = "unsupported_task_type"


class MalformedConfig(InvalidCheckpoint):
    """`adapter_config.json` is not strict JSON, or a key is missing or of the wrong type."""

    code = "malformed_config"


class MalformedTensors(InvalidCheckpoint):
    """`adapter_model.safetensors` is not a safetensors file with exactly the expected tensors."""

    code = "malformed_tensors"


class ShapeMismatch(InvalidCheckpoint):
    """The checkpoint does not fit the base model's sizes."""

    code = "shape_mismatch"


class NotFinite(InvalidCheckpoint):
    """A value is NaN or infinite, or becomes so in the serving dtype."""

    code = "not_finite"


class BaseMismatch(InvalidCheckpoint):
    """The checkpoint names another base model."""

    code = "base_mismatch"


class InvalidTaskIndex(InvalidCheckpoint):
    """`task_index` is missing, out of range, or given where there is nothing to choose."""

    code = "invalid_task_index"


class EmbeddingMismatch(InvalidCheckpoint):
    """The file holds an embedding layer with other values than the base model's."""

    code = "embedding_mismatch"


class CheckpointTooLarge(InvalidCheckpoint):
    """A file, or the tensors as float32, exceed the limit."""

    code = "checkpoint_too_large"


class InvalidFolder(StoreError):
    """A file of a version's folder is missing, no regular file, too large, not permitted, or no proper manifest."""

    code = "invalid_folder"


class BackupUnreadable(StoreError):
    """The file is no soft prompt store, is damaged, or cannot be read without losing what its log holds."""

    code = "backup_unreadable"


class ValueTooLarge(StoreError):
    """The database cannot hold a value of this size; the cause is chained."""

    code = "value_too_large"


class StoreCorrupt(StoreError):
    """The digest of stored data does not agree with the stored digest."""

    code = "store_corrupt"


class SchemaOutdated(StoreError):
    """The database was written by an older release; a command upgrades it."""

    code = "schema_outdated"


class SchemaUnsupported(StoreError):
    """The database was written by a newer release, or is not a soft prompt store."""

    code = "schema_unsupported"


class StoreUnavailable(StoreError):
    """The database cannot be reached or cannot do its work now; the cause is chained."""

    code = "store_unavailable"


class StoreFull(StoreUnavailable):
    """The database's disk is full, so nothing can be written; what is there can be read."""

    code = "store_full"
