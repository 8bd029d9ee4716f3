"""A decode step in one native call (`decode_step.c`): from the embeddings of its tokens to their logits.

It is offered where every layer is fused and every product has a kernel of our own, and only if it gives the logits of
the model's forward pass, bit for bit. The fused layers describe it. Steps that hold anything but one token of each
sequence go through the forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel
from server.model.cpu import few_rows
from server.model.cpu.attention import CpuPagedAttention, can_compute, is_built
from server.model.cpu.fused_layer import FusedLayer, RMSNorm
from server.model.cpu.int8_weight import Int8Weight
from server.model.cpu.packing import OneDnnWeight, PackedLinear, PackedWeight
from server.model.cpu.quantise_model import QuantisedEmbedding
from server.model.cpu.widened_weight import WidenedWeight
from server.model.flat_batch import Chunk
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner

if is_built():
    from server.model.cpu import _cpu

_BACKBONE_PARTS = frozenset({"embed_tokens", "layers", "norm", "rotary_emb"})
_NO_NORM = (0, 0.0)
_ANY_NUMBER = 1 << 30
_PROOF_BLOCK = 4
_ROWS, _PANELS, _INT8, _WIDENED = range(4)  # forms of `step_weight.h`

_Norm = tuple[int, float]
_Weight = tuple[int, int, int, int, int, int, int, int]
"""Form and kind, the addresses of numbers, scales and bias, then inputs, outputs and depth: as in `step_weight.h`."""


class DecodeStep:
    """A `DecodeReplay` of one model over one cache. Raises `_NotOffered` where the model has other parts."""

    def __init__(self, model: PreTrainedModel, cache: KVCache) -> None:
        backbone, head = _parts(model)
        layers = [_form(layer) for layer in backbone.layers]
        linears = [head, *(linear for layer in layers for linear in _linears(layer))]
        if len({_weight(linear)[:2] for linear in linears}) != 1:
            raise _NotOffered
        self.max_rows = few_rows.MAX_ROWS if _weight(head)[0] == _PANELS else _ANY_NUMBER
        self._block_size = cache.block_size
        self._rotary = backbone.rotary_emb
        self._head_dim = layers[0].head_dim
        self._vocab_size = head.out_features
        self._like = torch.empty(0)  # rotary embeddings have the dtype of what they are given
        self._kept = layers, head, backbone, cache  # whose memory is read
        self._stack = _cpu.decode_stack(
            tuple(_layer(layer, cache) for layer in layers),
            _embedding(backbone.embed_tokens),
            _norm(backbone.norm.forward),
            _weight(head),
            cache.block_size,
        )

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor | None:
        """Float32 logits `[num_chunks, vocab_size]`; None where the step is another kind of step."""
        if not (0 < len(chunks) <= self.max_rows and all(chunk.is_decode for chunk in chunks)):
            return None
        positions = torch.tensor([[chunk.start for chunk in chunks]])
        ids = torch.tensor([chunk.tokens[0] for chunk in chunks])
        tables = torch.tensor(_padded([chunk.block_table[: chunk.start // self._block_size + 1] for chunk in chunks]))
        cosine, sine = self._rotary(self._like, positions)
        if cosine.shape[-1] != self._head_dim:
            return None
        logits = torch.empty(len(chunks), self._vocab_size)
        _cpu.decode_step(
            self._stack,
            logits.data_ptr(),
            ids.data_ptr(),
            positions.data_ptr(),
            tables.data_ptr(),
            cosine.data_ptr(),
            sine.data_ptr(),
            len(chunks),
            tables.shape[1],
            torch.get_num_threads(),
        )
        return logits


def native_decodes(loaded: LoadedModel, cache: KVCache, attention: AttentionBackend) -> DecodeStep | None:
    """The decode step of a model over a cache, or None where it is not offered or its logits are not the same."""
    if not (is_built() and attention is CpuPagedAttention and loaded.dtype == torch.float32):
        return None
    trial = KVCache(loaded.architecture.layers, 1 + 2, _PROOF_BLOCK, loaded.dtype, loaded.device)
    try:
        step, proof = DecodeStep(loaded.model, cache), DecodeStep(loaded.model, trial)
        is_same = _is_same(proof, ModelRunner(loaded, trial, attention), loaded.architecture.vocab_size)
    except (_NotOffered, TypeError, ValueError, RuntimeError, AttributeError):  # a part is called in another way
        return None
    return step if is_same else None


def _is_same(step: DecodeStep, forward: ModelRunner, vocab_size: int) -> bool:
    """Whether the step gives the forward pass's logits over a few positions of two sequences."""
    with torch.inference_mode():
        for position in range(_PROOF_BLOCK):
            token = position % vocab_size
            chunks = [Chunk((token,), position, (1,), 0), Chunk((token // 2,), position, (2,), 0)]
            found = step.run(chunks)
            if found is None or not torch.equal(found, forward.forward(chunks)):
                return False
    return True


def _padded(tables: Sequence[Sequence[int]]) -> list[list[int]]:
    """Block tables as long as the longest: block 0 is behind them."""
    longest = max(map(len, tables))
    return [[*table, *(longest - len(table)) * (0,)] for table in tables]


# --- its description --------------------------------------------------------------------------------------------------


class _NotOffered(Exception):
    """The model has a part that the native call does not compute."""


def _parts(model: Any) -> tuple[Any, PackedLinear]:
    backbone, head = model.base_model, model.get_output_embeddings()
    names = frozenset(name for name, _ in backbone.named_children())
    is_alike = names == _BACKBONE_PARTS and isinstance(backbone.norm.forward, RMSNorm)
    if backbone is model or not (is_alike and isinstance(head, PackedLinear)):
        raise _NotOffered
    return backbone, head


def _form(layer: torch.nn.Module) -> FusedLayer:
    form = layer.forward
    if not isinstance(form, FusedLayer):
        raise _NotOffered
    return form


def _linears(layer: FusedLayer) -> list[PackedLinear]:
    return [layer.projection.whole, layer.output, layer.gate, layer.up, layer.down]


def _weight(linear: PackedLinear) -> _Weight:
    weight, bias = linear.packed, 0 if linear.bias is None else linear.bias.data_ptr()
    if isinstance(weight, OneDnnWeight) and weight.panels is not None:
        panels = weight.panels
        sizes = linear.in_features, linear.out_features, panels.padded_inputs
        return _PANELS, few_rows.LANES, panels.address, 0, bias, *sizes
    return _quantised(weight, bias)


def _quantised(weight: PackedWeight, bias: int = 0) -> _Weight:
    num_outputs, num_inputs = weight.shape
    if isinstance(weight, Int8Weight) and weight.kind:
        addresses = weight.numbers.data_ptr(), weight.scales.data_ptr()
        return _INT8, weight.kind, *addresses, bias, num_inputs, num_outputs, weight.numbers.shape[1]
    if isinstance(weight, WidenedWeight) and weight.lanes:
        scales = 0 if weight.scales is None else weight.scales.data_ptr()
        return _WIDENED, weight.lanes, weight.numbers.data_ptr(), scales, bias, num_inputs, num_outputs, num_inputs
    raise _NotOffered


def _embedding(embedding: Any) -> _Weight:
    """Its rows, widened at each look-up, or float32."""
    if isinstance(embedding, QuantisedEmbedding):
        return _quantised(embedding.packed)
    if not isinstance(embedding, torch.nn.Embedding):
        raise _NotOffered
    weight = embedding.weight
    if weight.dtype != torch.float32 or not weight.is_contiguous():
        raise _NotOffered
    num_outputs, num_inputs = weight.shape
    return _ROWS, 0, weight.data_ptr(), 0, 0, num_inputs, num_outputs, num_inputs


def _fits(layer: FusedLayer, num_kv_heads: int) -> bool:
    """Whether its products are as wide as the native call takes them to be."""
    attended = layer.output.in_features
    hidden, gated = layer.output.out_features, layer.gate.out_features
    return (
        layer.projection.whole.out_features == attended + 2 * num_kv_heads * layer.head_dim
        and attended % layer.head_dim == 0
        and {linear.in_features for linear in (layer.projection.whole, layer.gate, layer.up)} == {hidden}
        and (layer.up.out_features, layer.down.in_features, layer.down.out_features) == (gated, gated, hidden)
    )


def _norm(norm: RMSNorm | None) -> _Norm:
    return _NO_NORM if norm is None else (norm.weight.data_ptr(), norm.epsilon)


def _layer(layer: FusedLayer, cache: KVCache) -> tuple[object, ...]:
    call = layer.call
    keys, values = cache.keys[call.layer], cache.values[call.layer]
    if not can_compute(call) or call.bias is not None or not _fits(layer, keys.shape[2]):
        raise _NotOffered
    return (
        *(_norm(norm) for norm in (layer.before_attention, layer.query_norm, layer.key_norm, layer.before_mlp)),
        *(_weight(linear) for linear in _linears(layer)),
        keys.data_ptr(),
        values.data_ptr(),
        layer.output.in_features // layer.head_dim,
        keys.shape[2],
        layer.head_dim,
        call.sliding_window or 0,
        call.scaling,
    )
