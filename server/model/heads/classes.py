"""Transformers' own classes with heads, with hidden states given instead of computed.

A class is built on the meta device, and its backbone is replaced by one that returns what it is given. So the order of
dropout, layers, activations and pooling is transformers' own for every architecture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import (
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from prompts_store.checkpoint_records import TaskType
from server.model.families.registry import stock_attention
from server.model.heads.head import Rows

_MAPPINGS: Mapping[TaskType, Any] = {
    TaskType.SEQ_CLS: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    TaskType.TOKEN_CLS: MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    TaskType.QUESTION_ANS: MODEL_FOR_QUESTION_ANSWERING_MAPPING,
}


class _GivenStates(torch.nn.Module):
    """Stands for a backbone: the embeddings that it is given are its hidden states. Its own pooler is kept."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.pooler = getattr(backbone, "pooler", None)
        self.pooler_activation = getattr(backbone, "pooler_activation", None)

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> BaseModelOutputWithPoolingAndCrossAttentions:
        pooled = None
        if isinstance(self.pooler, torch.nn.Linear):  # ALBERT's, without a class of its own
            pooled = self.pooler(inputs_embeds[:, 0])
            if self.pooler_activation is not None:
                pooled = self.pooler_activation(pooled)
        elif self.pooler is not None:
            pooled = self.pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


def has_class(config: PreTrainedConfig, task_type: TaskType) -> bool:
    """Whether transformers has a class with such a head that loads the weights of the architecture.

    A class whose backbone has another name than in the rest of its family finds none of the weights: transformers, and
    PEFT with it, then computes with random ones (`LlamaForQuestionAnswering`).
    """
    model_class: Any = _MAPPINGS[task_type].get(type(config), None)
    backbone: Any = MODEL_MAPPING.get(type(config), None)
    return model_class is not None and model_class.base_model_prefix == getattr(backbone, "base_model_prefix", None)


def build_class(config: PreTrainedConfig, task_type: TaskType, num_labels: int) -> PreTrainedModel:
    """The class with such a head, without weights and over given hidden states.

    Its parameters are those of the head, by their names in the whole class. It may raise any exception of transformers.
    """
    config = copy.deepcopy(config)
    config.num_labels = num_labels
    config._experts_implementation = "batched_mm"  # the meta device runs no other
    model_class: Any = _MAPPINGS[task_type][type(config)]
    build: Callable[..., PreTrainedModel] = model_class._from_config
    with torch.device("meta"):
        model = build(config, attn_implementation=stock_attention(config), dtype=torch.float32)
    backbone = getattr(model, model.base_model_prefix)
    setattr(model, model.base_model_prefix, _GivenStates(backbone))
    if any(buffer.is_meta for buffer in model.buffers()):
        raise ValueError("the head has buffers, which no checkpoint holds")
    # Given states have no padding; transformers warns of it otherwise, with every head that is loaded.
    for named in (model.config, model.config.get_text_config()):
        named.pad_token_id = None
    model.train(False)
    return model


class ClassHead:
    """A head of transformers' class. `skipped_token_id` is not read at the end of a text."""

    def __init__(
        self, model: PreTrainedModel, task_type: TaskType, rows: Rows, skipped_token_id: int | None = None
    ) -> None:
        self._model = model
        self._task_type = task_type
        self._rows = rows
        self._skipped_token_id = skipped_token_id

    @property
    def rows(self) -> Rows:
        """See `Head`."""
        return self._rows

    @property
    def num_bytes(self) -> int:
        """See `Head`."""
        return sum(parameter.nbytes for parameter in self._model.parameters())

    def num_read(self, token_ids: Sequence[int]) -> int:
        """See `Head`."""
        num_read = len(token_ids)
        while num_read > 1 and token_ids[num_read - 1] == self._skipped_token_id:
            num_read -= 1
        return num_read

    @torch.inference_mode()
    def __call__(self, hidden: torch.Tensor, num_virtual: int) -> torch.Tensor:
        """The logits: of the labels `[1, num_labels]`, of them at each text token, or of begin and end at each."""
        output = self._model(inputs_embeds=hidden.float()[None], return_dict=True)
        if self._task_type is TaskType.QUESTION_ANS:
            return torch.stack([output.start_logits[0], output.end_logits[0]], dim=-1)[num_virtual:]
        logits: torch.Tensor = output.logits
        return logits if self._task_type is TaskType.SEQ_CLS else logits[0, num_virtual:]
