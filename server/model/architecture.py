"""The facts that the engine needs of an architecture, and the check that it can be served.

A forward call of two tokens records the attention call of each layer: names in configurations differ, calls do not. On
the meta device it costs neither weights nor time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from prompts_store.checkpoint_records import BaseKind
from server.model.attention import AttentionCall, attending
from server.model.encoder_decoder import families as encoder_decoder
from server.model.encoder_decoder.install import install
from server.model.encoder_decoder.probe import run_stacks
from server.model.errors import UnsupportedArchitecture
from server.model.families.registry import family_of, install_attention
from server.model.foreign import foreign_errors
from server.model.kv_cache import LayerShape

# Their window is in the mask alone, which is not built: they are served as far as it cuts nothing off.
_WINDOW_IN_MASK = frozenset({"phimoe"})


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers that shapes and limits come from. `max_context` counts positions, virtual tokens included.

    `num_attention_heads` counts query heads of a layer, as the configuration names them; None where it does not.
    Of an encoder-decoder, `layers` and `max_context` are the decoder's, and `max_encoder_positions` is the longest
    input of the encoder; None without an encoder. A block of the KV cache holds keys and values of a decoder's
    self-attention, or of its cross-attention: both have the same shapes. `num_encoder_layers` counts the encoder's
    layers as the configuration does.
    `key_values_problem` says why the model takes no prefix of keys and values, None if it does.
    """

    hidden_size: int
    vocab_size: int
    max_context: int
    num_attention_heads: int | None
    layers: tuple[LayerShape, ...]
    max_encoder_positions: int | None = None
    kind: BaseKind = BaseKind.DECODER
    key_values_problem: str | None = None
    num_encoder_layers: int | None = None

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

    A model whose attention modules do not call the function first gets other forward passes for them.

    Raises `UnsupportedArchitecture` where an answer could differ from the model's own forward.
    """
    config = model.config.get_text_config()
    check_model_type(config)
    with foreign_errors(UnsupportedArchitecture, f"{config.model_type} models cannot be served"):
        if config.is_encoder_decoder:
            return _read_encoder_decoder(model, max_context)
        if family_of(config) is not None:
            install_attention(model, _max_context(config, max_context))
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
    if getattr(config, "is_encoder_decoder", False) and config.model_type not in encoder_decoder.FAMILIES:
        served = ", ".join(encoder_decoder.FAMILIES)
        raise UnsupportedArchitecture(
            f"{config.model_type} is an encoder-decoder model that is not served; those that are: {served}"
        )
    if getattr(config, "attention_chunk_size", None):
        raise UnsupportedArchitecture(f"{config.model_type} attends in chunks, which the paged cache does not do")


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """The token embeddings `[vocab_size, hidden_size]` (vocabulary padding included)."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _read_encoder_decoder(model: PreTrainedModel, max_context: int | None) -> Architecture:
    config = model.config
    install(model)
    encoder, decoder, cross = _ShapeRecorder(), _ShapeRecorder(), _ShapeRecorder()
    with foreign_errors(UnsupportedArchitecture, "a flat batch fails"):
        num_logits = run_stacks(model, encoder, decoder, cross)
    if num_logits != config.vocab_size:
        raise UnsupportedArchitecture(
            f"the decoder writes {num_logits} tokens, the encoder reads {config.vocab_size}: vocabularies of their own "
            "are not served"
        )
    layers = _in_order(decoder, len(decoder.layers))
    if layers is None or cross.repeated or cross.layers != decoder.layers or encoder.repeated:
        raise UnsupportedArchitecture(
            f"{config.model_type} models cannot be served: not every decoder layer has one self-attention and one "
            "cross-attention of the same shape"
        )
    longest = encoder_decoder.max_positions(config, max_context)
    return Architecture(
        hidden_size=int(embedding_weight(model).shape[1]),
        vocab_size=int(config.vocab_size),
        max_context=longest,
        num_attention_heads=config.num_attention_heads,
        layers=layers,
        max_encoder_positions=longest,
        kind=BaseKind.ENCODER_DECODER,
        num_encoder_layers=int(config.num_hidden_layers),
    )


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
        with foreign_errors(UnsupportedArchitecture, "a flat batch fails"), torch.no_grad(), attending(recorder):
            output = model(
                input_ids=torch.zeros(1, 2, dtype=torch.long, device=device),
                position_ids=torch.arange(2, device=device)[None],
                use_cache=False,
                logits_to_keep=torch.ones(1, dtype=torch.long, device=device),
            )
    except UnsupportedArchitecture as error:
        raise UnsupportedArchitecture(f"{config.model_type} models cannot be served: {error}") from error
    layers = _in_order(recorder, int(config.num_hidden_layers))
    if layers is None:
        raise UnsupportedArchitecture(
            f"{config.model_type} models cannot be served: not every layer is one attention layer with its own keys "
            "and values"
        )
    if output.logits.shape[1] != 1:
        raise UnsupportedArchitecture(
            f"{config.model_type} models cannot be served: they compute the logits of every row, whatever rows are "
            "asked of them"
        )
    _check_windows(config, layers)
    return layers


def _in_order(recorder: _ShapeRecorder, num_layers: int) -> tuple[LayerShape, ...] | None:
    """The layers' shapes; None unless each of them made one call."""
    if recorder.repeated or sorted(recorder.layers) != list(range(num_layers)):
        return None
    return tuple(recorder.layers[index] for index in range(num_layers))


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
    family = family_of(config)
    if limit is None and family is not None:
        limit = family.default_context(config)
    if limit is None and wanted is None:
        raise UnsupportedArchitecture(f"{config.model_type} names no longest context: give one with --max-context")
    window = config.sliding_window if config.model_type in _WINDOW_IN_MASK else None
    bounds = [bound for bound in (limit, wanted, window, *_rope_bounds(config)) if bound is not None]
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
