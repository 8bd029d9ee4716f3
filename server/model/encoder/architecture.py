"""The facts that the engine needs of an encoder, and the check that it can be served.

A forward call records the attention call of each layer. On the meta device it costs neither weights nor time, so the
batch is longer than any sequence may be: that shows what counts positions by the length of the batch.
"""

from __future__ import annotations

import inspect

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from prompts_store.checkpoint_records import BaseKind
from server.model.architecture import Architecture, embedding_weight
from server.model.encoder.attention import EncoderCall, encoding
from server.model.encoder.positions import read_positions
from server.model.errors import UnsupportedArchitecture
from server.model.foreign import foreign_errors
from server.model.kv_cache import LayerShape

_NO_KEY_VALUES = "{model_type} models take no past_key_values, so PEFT cannot run PREFIX_TUNING and CARTRIDGE on them."


def read_encoder_architecture(model: PreTrainedModel, max_context: int | None = None) -> Architecture:
    """Probe an encoder with our attention; `max_context` lowers the model's own limit. `hidden_size` is that of the
    word embeddings, which some encoders project.

    Raises `UnsupportedArchitecture` where an answer could differ from the model's own forward.
    """
    config = model.config
    with foreign_errors(UnsupportedArchitecture, "its sizes cannot be read"):
        longest = _max_context(model, max_context)
        return Architecture(
            hidden_size=int(embedding_weight(model).shape[1]),
            vocab_size=int(config.vocab_size),
            max_context=longest,
            num_attention_heads=getattr(config, "num_attention_heads", None),
            layers=_probe_layers(model, config, longest),
            kind=BaseKind.ENCODER,
            key_values_problem=None if takes_key_values(model) else _NO_KEY_VALUES.format(model_type=config.model_type),
        )


def takes_key_values(model: PreTrainedModel) -> bool:
    """Whether the model takes keys and values before its rows, as PEFT asks: by a parameter of its forward call."""
    return "past_key_values" in inspect.signature(model.forward).parameters


class _Recorder:
    """Returns zeros as attention and records the calls, in the order of the layers."""

    def __init__(self) -> None:
        self.layers: list[LayerShape] = []

    def attend(self, call: EncoderCall) -> torch.Tensor:
        key_dim, value_dim = int(call.key.shape[-1]), int(call.value.shape[-1])
        self.layers.append(LayerShape(int(call.key.shape[0]), key_dim, value_dim, call.sliding_window))
        num_heads, num_rows, _ = call.query.shape
        return call.query.new_zeros(num_rows, num_heads, value_dim)


def _probe_layers(model: PreTrainedModel, config: PreTrainedConfig, longest: int) -> tuple[LayerShape, ...]:
    recorder = _Recorder()
    embedding = embedding_weight(model)
    num_rows = longest + 1 if embedding.is_meta else 2
    with foreign_errors(UnsupportedArchitecture, "a flat batch fails"), torch.no_grad(), encoding(recorder):
        model(
            inputs_embeds=embedding.new_zeros(1, num_rows, embedding.shape[1]),
            position_ids=torch.ones(1, num_rows, dtype=torch.long, device=embedding.device),
        )
    if len(recorder.layers) != int(config.num_hidden_layers):
        raise UnsupportedArchitecture("not every layer calls attention as transformers' interface has it")
    return tuple(recorder.layers)


def _max_context(model: PreTrainedModel, wanted: int | None) -> int:
    """Positions of the longest sequence. Those below the first one of a sequence are no text's."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is None and wanted is None:
        raise UnsupportedArchitecture("it names no longest context: give one with --max-context")
    own = None if limit is None else int(limit) - read_positions(model).first
    return min(bound for bound in (own, wanted) if bound is not None)
