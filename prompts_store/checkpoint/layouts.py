"""The PEFT types: the tensors in the files of each, and their conversion into a prefix.

Layouts are PEFT's (`PeftModel.get_prompt`, `MultitaskPromptEmbedding.forward`). A new type is one more entry of
`LAYOUTS`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint_records import BaseModel, PeftType, TensorKind
from prompts_store.errors import ShapeMismatch

Arrays = Mapping[str, NDArray[np.float32]]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Counts:
    """The sizes that a configuration gives; `num_tasks` and `num_ranks` are 0 unless the type has tasks.

    `num_submodules` parts of the base model have rows of their own in a prompt of embeddings.
    """

    num_virtual_tokens: int
    num_tasks: int = 0
    num_ranks: int = 0
    num_submodules: int = 1


class Layout(ABC):
    """One PEFT type's tensors.

    `has_tasks`: they hold several tasks, one of which the manifest chooses. `tensor_names`: the names of `shapes`.
    `token_ids` is the key of the configuration that lists one token per virtual token, if the type has one.
    """

    kind: ClassVar[TensorKind]
    has_tasks: ClassVar[bool] = False
    tensor_names: ClassVar[tuple[str, ...]] = ("prompt_embeddings",)
    token_ids: ClassVar[str | None] = None

    @abstractmethod
    def prefix_shape(self, num_virtual_tokens: int, base: BaseModel) -> tuple[int, ...]:
        """Return the shape of ResolvedPrefix.values. Raises ShapeMismatch where the base model takes no such prefix."""

    @abstractmethod
    def base_numbers(self, base: BaseModel) -> Mapping[str, Set[int]]:
        """Return the values that each number of the base model may have in the configuration.

        An empty set allows any value, because PEFT does not use the one in the file.
        """

    def shapes(self, counts: Counts, base: BaseModel) -> Shapes:
        """Return the name and shape of every tensor in the file. Raises ShapeMismatch like `prefix_shape`."""
        _, *rest = self.prefix_shape(counts.num_virtual_tokens, base)
        return {"prompt_embeddings": (self.num_rows(counts), math.prod(rest))}

    def fits(self, values: NDArray[np.float32], counts: Counts, shape: tuple[int, ...]) -> bool:
        """Return whether a prefix of this shape can be served from the rows of a prompt."""
        return values.shape == (self.num_rows(counts), math.prod(shape[1:]))

    @abstractmethod
    def num_rows(self, counts: Counts) -> int:
        """Return the number of rows of `prompt_embeddings`."""

    def num_tasks(self, tensors: Arrays) -> int:
        """Return the number of tasks in the tensors, 0 for a type without tasks."""
        return 0

    def values(self, tensors: Arrays, task_index: int | None) -> NDArray[np.float32]:
        """Return the rows of the prompt, `[num_rows, …]`."""
        return tensors["prompt_embeddings"]

    def serve(self, values: NDArray[np.float32], shape: tuple[int, ...], num_submodules: int) -> NDArray[np.float32]:
        """Return the part of the prompt that the model sees when it generates, of a prefix shape."""
        return values[: shape[0]].reshape(shape)


class Embeddings(Layout):
    """A matrix `[num_submodules * num_virtual_tokens, hidden_size]`.

    The first `num_virtual_tokens` rows are served. PEFT gives the others to a decoder behind an encoder, and only while
    it trains.
    """

    kind: ClassVar[TensorKind] = TensorKind.EMBEDDINGS

    def num_rows(self, counts: Counts) -> int:
        """See `Layout`."""
        return counts.num_submodules * counts.num_virtual_tokens

    def prefix_shape(self, num_virtual_tokens: int, base: BaseModel) -> tuple[int, ...]:
        """See `Layout`."""
        return (num_virtual_tokens, base.hidden_size)

    def base_numbers(self, base: BaseModel) -> Mapping[str, Set[int]]:
        """See `Layout`."""
        return {"num_layers": {base.num_peft_layers}, "token_dim": {base.hidden_size}, "num_attention_heads": set()}


class TokenEmbeddings(Embeddings):
    """A matrix that began as the embeddings of listed tokens."""

    token_ids: ClassVar[str | None] = "cpt_token_ids"

    def base_numbers(self, base: BaseModel) -> Mapping[str, Set[int]]:
        """Allow any number: `CPTConfig` drops those of the file, and the model's replace them."""
        return {"num_layers": set(), "token_dim": set(), "num_attention_heads": set()}


class TaskEmbeddings(Embeddings):
    """A matrix that all tasks share, times one matrix per task of low rank."""

    has_tasks: ClassVar[bool] = True
    tensor_names: ClassVar[tuple[str, ...]] = ("prompt_embeddings", "prefix_task_cols", "prefix_task_rows")

    def shapes(self, counts: Counts, base: BaseModel) -> Shapes:
        """See `Layout`."""
        return {
            **super().shapes(counts, base),
            "prefix_task_cols": (counts.num_tasks, self.num_rows(counts), counts.num_ranks),
            "prefix_task_rows": (counts.num_tasks, counts.num_ranks, base.hidden_size),
        }

    def num_tasks(self, tensors: Arrays) -> int:
        """See `Layout`."""
        return len(tensors["prefix_task_cols"])

    def values(self, tensors: Arrays, task_index: int | None) -> NDArray[np.float32]:
        """Return `shared * (cols @ rows)`, `[num_rows, hidden_size]`.

        `cols` is `[num_rows, num_ranks]`, `rows` is `[num_ranks, hidden_size]`. Summed in float64 and in the
        order of the ranks: the prefix digest must not depend on a machine's BLAS.
        """
        assert task_index is not None
        shared = tensors["prompt_embeddings"]
        cols, rows = tensors["prefix_task_cols"][task_index], tensors["prefix_task_rows"][task_index]
        product = np.zeros(shared.shape, np.float64)
        for col, row in zip(cols.T, rows, strict=True):
            product += np.multiply.outer(col.astype(np.float64), row.astype(np.float64))
        with np.errstate(over="ignore"):
            return (product * shared).astype(np.float32)


class KeyValues(Layout):
    """Keys and values `[num_virtual_tokens, 2 * num_layers, num_kv_heads, head_dim]`, as one row per virtual token.

    Behind an encoder the file has as many layers as the encoder, and the decoder may have fewer.
    """

    kind: ClassVar[TensorKind] = TensorKind.KEY_VALUES

    def num_rows(self, counts: Counts) -> int:
        """See `Layout`."""
        return counts.num_virtual_tokens

    def serve(self, values: NDArray[np.float32], shape: tuple[int, ...], num_submodules: int) -> NDArray[np.float32]:
        """Return the keys and values of the decoder's self-attention.

        With two submodules, PEFT writes the layers twice and gives each decoder layer two: the second one is for cross
        attention, which drops it. So decoder layer `i` has those of layer `2 * i` of the tensor, modulo their number.
        """
        pairs = values[: shape[0]].reshape(shape[0], -1, 2, *shape[2:])
        num_saved, num_layers = pairs.shape[1], shape[1] // 2
        return pairs[:, [num_submodules * layer % num_saved for layer in range(num_layers)]].reshape(shape)

    def shapes(self, counts: Counts, base: BaseModel) -> Shapes:
        """See `Layout`. Raises ShapeMismatch also for a decoder with more layers than its encoder."""
        if base.num_peft_layers < base.num_layers:
            message = (
                f"PEFT makes keys and values for {base.num_peft_layers} layers, those of the encoder, and cannot run "
                f"them on the {base.num_layers} layers of this decoder. Train with PROMPT_TUNING or P_TUNING."
            )
            raise ShapeMismatch(message, param="adapter_config")
        num_tokens, _, *heads = self.prefix_shape(counts.num_virtual_tokens, base)
        return {"prompt_embeddings": (num_tokens, 2 * base.num_peft_layers * math.prod(heads))}

    def fits(self, values: NDArray[np.float32], counts: Counts, shape: tuple[int, ...]) -> bool:
        """See `Layout`. The rows may have more layers than are served."""
        width, layer = int(values.shape[1]), 2 * math.prod(shape[2:])
        return len(values) == self.num_rows(counts) and width >= math.prod(shape[1:]) and width % layer == 0

    def prefix_shape(self, num_virtual_tokens: int, base: BaseModel) -> tuple[int, ...]:
        """See `Layout`."""
        return (num_virtual_tokens, 2 * base.num_layers, *self._heads(base))

    def base_numbers(self, base: BaseModel) -> Mapping[str, Set[int]]:
        """Allow the width and heads of the keys, and those of the whole model, which PEFT overwrites at load."""
        num_kv_heads, head_dim = self._heads(base)
        return {
            "num_layers": {base.num_peft_layers},
            "token_dim": {num_kv_heads * head_dim, base.hidden_size},
            "num_attention_heads": {num_kv_heads, base.num_attention_heads or num_kv_heads},
        }

    def _heads(self, base: BaseModel) -> tuple[int, int]:
        """Return `(num_kv_heads, head_dim)`. Raises ShapeMismatch where the layers differ."""
        if base.key_values_problem is not None:
            raise ShapeMismatch(base.key_values_problem, param="adapter_config")
        if base.num_kv_heads is None or base.head_dim is None:
            raise ShapeMismatch(
                "PREFIX_TUNING and CARTRIDGE need equal keys and values in all layers; the base model's layers differ.",
                param="adapter_config",
            )
        return base.num_kv_heads, base.head_dim


LAYOUTS: Mapping[PeftType, Layout] = {
    PeftType.PROMPT_TUNING: Embeddings(),
    PeftType.P_TUNING: Embeddings(),
    PeftType.MULTITASK_PROMPT_TUNING: TaskEmbeddings(),
    PeftType.CPT: TokenEmbeddings(),
    PeftType.PREFIX_TUNING: KeyValues(),
    PeftType.CARTRIDGE: KeyValues(),
}
