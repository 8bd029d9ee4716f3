"""The facts that the engine needs of an architecture, and the check that it can be served.

A forward call of two tokens records the attention call of each layer: names in configurations differ, calls do not. On
the meta device it costs neither weights nor time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from server.model.attention import AttentionCall
from server.model.errors import UnsupportedArchitecture
from server.model.foreign import foreign_errors
from server.model.kv_cache import LayerShape

# Their attention never receives the step's context (measured on transformers 5.23).
_NO_CONTEXT = frozenset({"stablelm", "gptj", "bloom", "falcon"})


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers that shapes and limits come from. `max_context` counts positions, virtual tokens included.

    `num_attention_heads` counts query heads of a layer, as the configuration names them; None where it does not.
    """

    hidden_size: int
    vocab_size: int
    max_context: int
    num_attention_heads: int | None
    layers: tuple[LayerShape, ...]

    @property
    def num_layers(self) -> int:
        """Attention layers."""
        return len(self.layers)

    @property
    def uniform_kv(self) -> tuple[int, int] | None:
        """`(num_kv_heads, head_dim)` where all layers agree and keys and values have one size, else None."""
        shapes = {(layer.num_kv_heads, layer.key_dim, layer.value_dim) for layer in self.layers}
        if len(shapes) != 1:
            return None
        num_kv_heads, key_dim, value_dim = shapes.pop()
        return (num_kv_heads, key_dim) if key_dim == value_dim else None


def read_architecture(model: PreTrainedModel, max_context: int | None = None) -> Architecture:
    """Probe a model loaded with our attention function; `max_context` lowers the model's own limit.

    Raises `UnsupportedArchitecture` where an answer could differ from the model's own forward.
    """
    config = model.config.get_text_config()
    check_model_type(config)
    with foreign_errors(UnsupportedArchitecture, f"{config.model_type} models cannot be served"):
        layers = _probe_layers(model, config)
        return Architecture(
            hidden_size=int(embedding_weight(model).shape[1]),
            vocab_size=int(config.vocab_size),
            max_context=_max_context(config, max_context),
            num_attention_heads=getattr(config, "num_attention_heads", None),
            layers=layers,
        )


def check_model_type(config: PreTrainedConfig) -> None:
    """Raise `UnsupportedArchitecture` for architectures known not to work, before any weight is read."""
    if config.model_type in _NO_CONTEXT:
        raise UnsupportedArchitecture(
            f"{config.model_type} models cannot be served: they do not hand keywords down to their attention function"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedArchitecture(f"{config.model_type} is an encoder-decoder model: only causal models are served")
    if getattr(config, "attention_chunk_size", None):
        raise UnsupportedArchitecture(f"{config.model_type} attends in chunks, which the paged cache does not do")


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """The token embeddings `[vocab_size, hidden_size]` (vocabulary padding included)."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


class _ShapeRecorder:
    """Returns zeros as attention and records the calls."""

    def __init__(self) -> None:
        self.layers: dict[int, LayerShape] = {}
        self.repeated = False

    def attend(self, call: AttentionCall) -> torch.Tensor:
        self.repeated |= call.layer in self.layers
        self.layers[call.layer] = LayerShape(
            num_kv_heads=int(call.key.shape[0]),
            key_dim=int(call.key.shape[-1]),
            value_dim=int(call.value.shape[-1]),
            sliding_window=call.sliding_window,
        )
        num_heads, num_tokens, _ = call.query.shape
        return call.query.new_zeros(num_tokens, num_heads, call.value.shape[-1])


def _probe_layers(model: PreTrainedModel, config: PreTrainedConfig) -> tuple[LayerShape, ...]:
    recorder = _ShapeRecorder()
    device = embedding_weight(model).device
    try:
        with foreign_errors(UnsupportedArchitecture, "a flat batch fails"), torch.no_grad():
            model(
                input_ids=torch.zeros(1, 2, dtype=torch.long, device=device),
                position_ids=torch.arange(2, device=device)[None],
                use_cache=False,
                paged=recorder,
            )
    except UnsupportedArchitecture as error:
        raise UnsupportedArchitecture(f"{config.model_type} models cannot be served: {error}") from error
    if recorder.repeated or sorted(recorder.layers) != list(range(int(config.num_hidden_layers))):
        raise UnsupportedArchitecture(
            f"{config.model_type} models cannot be served: not every layer is one attention layer with its own keys "
            "and values"
        )
    layers = tuple(recorder.layers[index] for index in sorted(recorder.layers))
    _check_windows(config, layers)
    return layers


def _check_windows(config: PreTrainedConfig, layers: tuple[LayerShape, ...]) -> None:
    """Refuse a model whose configured window does not reach the attention function: it would be ignored."""
    layer_types: list[Any] = list(getattr(config, "layer_types", None) or [])
    windowed = [kind == "sliding_attention" for kind in layer_types[: len(layers)]]
    if any(wanted and layer.sliding_window is None for wanted, layer in zip(windowed, layers, strict=False)):
        raise UnsupportedArchitecture(f"{config.model_type} does not hand its sliding window to its attention function")
    others = set(layer_types) - {"sliding_attention", "full_attention", "attention"}
    if others:
        raise UnsupportedArchitecture(f"{config.model_type} has layers of another kind than full or sliding attention")


def _max_context(config: PreTrainedConfig, wanted: int | None) -> int:
    """The longest sequence whose logits do not depend on its neighbours.

    RoPE of type `dynamic` changes all frequencies once any position of the batch passes the trained length, `longrope`
    once one passes the original length: below that bound every sequence is independent, so the bound is the limit.
    """
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None and wanted is None:
        raise UnsupportedArchitecture(f"{config.model_type} names no longest context: give one with --max-context")
    bounds = [bound for bound in (limit, wanted, *_rope_bounds(config)) if bound is not None]
    return int(min(bounds))


def _rope_bounds(config: PreTrainedConfig) -> list[int]:
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [value for value in parameters.values() if isinstance(value, dict)]
    bounds = []
    for rope in by_layer_type or [parameters]:
        if rope.get("rope_type") == "longrope":
            original = rope.get("original_max_position_embeddings")
            bounds.append(int(original or config.original_max_position_embeddings))
    return bounds
