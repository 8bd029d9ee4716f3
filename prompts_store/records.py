"""Records that the store takes and returns: frozen, without SQL and without bytes of a wire format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a command that only talks to a server must start without NumPy
    import numpy as np
    from numpy.typing import NDArray

from prompts_store.manifest import Manifest


class PeftType(StrEnum):
    """PEFT's prompt-learning types (values as in `adapter_config.json`)."""

    PROMPT_TUNING = "PROMPT_TUNING"
    P_TUNING = "P_TUNING"
    MULTITASK_PROMPT_TUNING = "MULTITASK_PROMPT_TUNING"
    CPT = "CPT"
    PREFIX_TUNING = "PREFIX_TUNING"
    CARTRIDGE = "CARTRIDGE"


class TaskType(StrEnum):
    """PEFT's task types (values as in `adapter_config.json`)."""

    CAUSAL_LM = "CAUSAL_LM"
    SEQ_2_SEQ_LM = "SEQ_2_SEQ_LM"
    SEQ_CLS = "SEQ_CLS"
    TOKEN_CLS = "TOKEN_CLS"
    QUESTION_ANS = "QUESTION_ANS"
    FEATURE_EXTRACTION = "FEATURE_EXTRACTION"

    @property
    def has_head(self) -> bool:
        """Whether a task of this type answers from hidden states, and generates no text."""
        return self not in (TaskType.CAUSAL_LM, TaskType.SEQ_2_SEQ_LM)


class BaseKind(StrEnum):
    """The parts that a base model has."""

    DECODER = "decoder"
    ENCODER = "encoder"
    ENCODER_DECODER = "encoder-decoder"


class TensorKind(StrEnum):
    """The content of a resolved prefix."""

    EMBEDDINGS = "embeddings"
    KEY_VALUES = "key_values"


@dataclass(frozen=True, slots=True)
class HeadShapes:
    """The parameters of a base model's head for one task type, by their names in transformers' class.

    In `shapes`, None stands for the number of labels. `held` has the shapes of those that the base model's own files
    hold: a checkpoint may leave them out.
    """

    shapes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    held: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The base model that a checkpoint must fit: its identity, and the sizes that the checkpoint's shapes must have.

    `names` are accepted as `base_model_name_or_path`, in any spelling; the empty name always is. `serving_dtype` is
    "float32", "float16" or "bfloat16": values must be finite after a cast to it. `num_kv_heads` and `head_dim` are None
    where layers differ (then key-value prefixes cannot be served). `num_attention_heads` counts query heads; None means
    unknown. `heads` has the task types with a head that transformers has a class for. `key_values_problem` says why no
    prefix of keys and values can be served, where that is not because layers differ. `num_encoder_layers` counts the
    layers of the encoder before a decoder, None without one.
    """

    fingerprint: str
    names: tuple[str, ...]
    hidden_size: int
    num_layers: int
    num_kv_heads: int | None
    head_dim: int | None
    max_context: int
    serving_dtype: str
    num_attention_heads: int | None = None
    kind: BaseKind = BaseKind.DECODER
    heads: Mapping[TaskType, HeadShapes] = field(default_factory=dict, compare=False)
    key_values_problem: str | None = None
    num_encoder_layers: int | None = None

    @property
    def num_peft_layers(self) -> int:
        """The layers that PEFT counts: keys and values are trained for as many, whatever the decoder has."""
        return self.num_encoder_layers or self.num_layers


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """One tensor of a checkpoint: canonical float32 values and the dtype it came in ("F32", "F16" or "BF16")."""

    name: str
    original_dtype: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The contents of a PEFT prompt-learning checkpoint. `config` is `adapter_config.json`, kept whole for export."""

    peft_type: PeftType
    num_virtual_tokens: int
    config: Mapping[str, Any]
    tensors: tuple[StoredTensor, ...]

    @property
    def task_type(self) -> TaskType | None:
        """What it was trained for; None stands for the generating type of its base model."""
        return task_type_of(self.config)

    @property
    def num_submodules(self) -> int:
        """Parts of the base model that have rows of their own in a prompt of embeddings: 2 are encoder and decoder."""
        return num_submodules_of(self.config)


def task_type_of(config: Mapping[str, Any]) -> TaskType | None:
    """Return the task type in an `adapter_config.json` that was checked."""
    value = config.get("task_type")
    return None if value is None else TaskType(value)


def num_submodules_of(config: Mapping[str, Any]) -> int:
    """Return `num_transformer_submodules` of an `adapter_config.json` that was checked, or PEFT's default."""
    return config.get("num_transformer_submodules") or (2 if task_type_of(config) is TaskType.SEQ_2_SEQ_LM else 1)


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedPrefix:
    """The prefix that the model sees, after a multitask choice. `digest` is the prefix digest.

    Embeddings: `[num_virtual_tokens, hidden_size]`. Keys and values: `[num_virtual_tokens, 2 * num_layers,
    num_kv_heads, head_dim]`, even index key (already rotated), odd index value. C-contiguous float32.
    """

    kind: TensorKind
    digest: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tensor that a checkpoint's file holds and a soft prompt does not need.

    `is_embedding` says that it belongs to an embedding layer of the base model, `was_compared` that it was found equal
    to the base model's own. If it was not compared, nobody knows.
    """

    name: str
    num_bytes: int
    is_embedding: bool
    was_compared: bool

    def describe(self) -> str:
        """Return a line for people: the name, the bytes, and what is known of its effect."""
        if not self.is_embedding:
            effect = "serving does not use it"
        elif self.was_compared:
            effect = "it is the base model's own"
        else:
            effect = "it was not compared with the base model's own"
        return f"left out {self.name} ({self.num_bytes} bytes): {effect}"


@dataclass(frozen=True, slots=True, eq=False)
class ParsedCheckpoint(Checkpoint):
    """A checkpoint that passed every check against `base`. Only checkpoint/reader.py makes one, of read-only arrays.

    `prefix` is what the base model sees of it; `task_index` chose it among several tasks (None: there is one alone).
    `base_name` is the base model that the checkpoint names, "" if none. `base_mismatch` says that the publisher
    accepted a name that is not the base model's. `num_labels` is the number of outputs of its head, if it has one.
    `left_out` is what else the file held.
    """

    base: BaseModel
    task_index: int | None
    base_name: str
    base_mismatch: bool
    prefix: ResolvedPrefix
    num_labels: int | None = None
    left_out: tuple[LeftOut, ...] = ()


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
