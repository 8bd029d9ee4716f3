"""What the store takes and gives back: frozen records, no SQL and no bytes of a wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PeftType(StrEnum):
    """PEFT's prompt-learning types (values as in `adapter_config.json`)."""

    PROMPT_TUNING = "PROMPT_TUNING"
    P_TUNING = "P_TUNING"
    MULTITASK_PROMPT_TUNING = "MULTITASK_PROMPT_TUNING"
    CPT = "CPT"
    PREFIX_TUNING = "PREFIX_TUNING"
    CARTRIDGE = "CARTRIDGE"


class TensorKind(StrEnum):
    """What a resolved prefix holds."""

    EMBEDDINGS = "embeddings"
    KEY_VALUES = "key_values"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The base model a checkpoint must fit: identity, and the numbers its shapes are checked against.

    `names` are accepted as `base_model_name_or_path` (the empty name always is). `serving_dtype` is "float32",
    "float16" or "bfloat16": values must be finite after a cast to it. `num_kv_heads` and `head_dim` are None where
    layers differ (then key-value prefixes cannot be served).
    """

    fingerprint: str
    names: tuple[str, ...]
    hidden_size: int
    num_layers: int
    num_kv_heads: int | None
    head_dim: int | None
    max_context: int
    serving_dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """One tensor of a checkpoint: canonical float32 values and the dtype it came in ("F32", "F16" or "BF16")."""

    name: str
    original_dtype: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A PEFT prompt-learning checkpoint that passed every check.

    `config` is the parsed `adapter_config.json`, kept whole for export.
    """

    peft_type: PeftType
    num_virtual_tokens: int
    config: Mapping[str, Any]
    tensors: tuple[StoredTensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedPrefix:
    """What the model sees, after a multitask choice. `digest` is the prefix digest.

    Embeddings: `[num_virtual_tokens, hidden_size]`. Keys and values: `[num_virtual_tokens, 2 * num_layers,
    num_kv_heads, head_dim]`, even index key (already rotated), odd index value. C-contiguous float32.
    """

    kind: TensorKind
    digest: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version carries beside its tensors.

    Content (part of the digest): `template` (holds one literal `{input}`; None: the input is the prompt), `labels`,
    `stop`, `add_special_tokens` (None: the tokenizer's default), `defaults` (generation parameters), `task_index`
    (MULTITASK_PROMPT_TUNING only). Not content: `metrics`, `note`.
    """

    template: str | None = None
    labels: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    add_special_tokens: bool | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    task_index: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task: a name within one base model. `latest_version` is the highest live number, None without one."""

    name: str
    base_fingerprint: str
    description: str
    created_at: datetime
    latest_version: int | None
    production_version: int | None


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """An immutable version. `digest` is its content digest, `prefix_digest` what its residency goes by.

    `base_name` is the base model that the checkpoint names ("" if none); `base_mismatch` says that the publisher
    accepted a name that is not the base model's.
    """

    task: str
    version: int
    digest: str
    prefix_digest: str
    peft_type: PeftType
    num_virtual_tokens: int
    base_fingerprint: str
    base_name: str
    manifest: Manifest
    created_at: datetime
    created_by: str
    retired_at: datetime | None
    base_mismatch: bool = False


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """A movable name for one version. `etag` is opaque and changes with every move (without quotes)."""

    task: str
    alias: str
    version: int
    etag: str
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class Published:
    """The answer to a publish: `created` is False where the same content already was a live version.

    `promoted` says that `production` names the version now.
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
    """One entry of an alias's history. A version is None where the alias did not exist before, or does not after."""

    task: str
    alias: str
    from_version: int | None
    to_version: int | None
    moved_at: datetime
    moved_by: str


class ChangeKind(StrEnum):
    """What a change did."""

    TASK_CREATED = "task_created"
    TASK_DELETED = "task_deleted"
    VERSION_PUBLISHED = "version_published"
    VERSION_RETIRED = "version_retired"
    ALIAS_MOVED = "alias_moved"
    ALIAS_DELETED = "alias_deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change. Ids grow in commit order. `version` and `alias` are None where the kind has none."""

    id: int
    kind: ChangeKind
    fingerprint: str
    task: str
    version: int | None
    alias: str | None
