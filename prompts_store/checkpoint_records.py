"""Records of a PEFT checkpoint and of the base model that it must fit: frozen, without SQL and without file formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a command that only talks to a server must start without NumPy
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
