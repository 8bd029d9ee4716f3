"""The start-up self-proof: the paged path and the twin compute a few sequences, and are compared.

The sequences, with and without an embeddings prefix, are prefilled in chunks, mixed in one batch, and decoded. Logits
are asked for some of the rows, as serving asks for the last one of a prompt. First both paths compute in float32, where
each of these rows must agree: that proves the logic. A model that serves half precision or int8 is then compared as it
serves: it may be off by what the stock model's own rounding costs, and little more. The stock model of int8 has the
same quantised layers; in float32 both paths multiply the dequantised weights. Weights that are only widened round no
row: as they serve, they are compared with the stock model over their float32 copies.

A sliding window longer than the sequences would hide nothing in them. Such a model is compared once more in float32,
with its windows narrowed on both sides. That proves which layers have a window and where it ends. It does not prove
that an attention backend computes a window of thousands of positions; tests do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from server.model.architecture import read_architecture
from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel, dtype_name
from server.model.encoder_decoder_proof import (
    make_encoded_sequences,
    paged_encoded_logits,
    stock_encoded_logits,
)
from server.model.errors import SelfProofFailed
from server.model.families.registry import adopt_attention
from server.model.float32_view import compute_in_float32
from server.model.foreign import foreign_errors
from server.model.proof_sequences import ProofSequence, make_sequences, paged_logits, stock_logits
from server.model.rounding import Rounding, measure_rounding
from server.model.twin import make_twin

# Of the logits' own spread: float32 agrees to rounding.
_TOLERANCE = 1e-3
_NARROW_WINDOW = 7
_OTHER_WEIGHTS = {
    "float16": "--dtype float32 or bfloat16",
    "bfloat16": "--dtype float32",
    "int8": "it without --weights int8",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """How far the paths are apart, in standard deviations of the logits.

    `disagreement` is the largest difference in float32. `rounding` is None for a model that serves float32.
    """

    disagreement: float
    rounding: Rounding | None

    def __str__(self) -> str:
        said = f"logits agree to {self.disagreement:.1e} of their spread"
        return said if self.rounding is None else f"in float32 {said}; {self.rounding}"


def prove(loaded: LoadedModel, attention: AttentionBackend, seed: int = 0, text: Sequence[int] = ()) -> Proof:
    """Compare both paths on sequences of `text` and of seeded random tokens.

    `attention` is the backend that will serve.
    Raises `SelfProofFailed` over a tolerance, and if either path cannot be run.
    """
    refused = f"{loaded.model.config.get_text_config().model_type} models cannot be served"
    with foreign_errors(SelfProofFailed, f"{refused}: the self-proof cannot be run"), torch.inference_mode():
        sequences = _make_sequences(loaded, torch.Generator().manual_seed(seed), text)
        expected = _stock_logits(_with_twin(loaded, in_float32=True), sequences)
        _check_stock(expected, loaded.dtype)
        is_rounded = loaded.rounding_epsilon is not None
        paged = _with_twin(loaded, is_paged=True, in_float32=True) if is_rounded else loaded
        disagreement = _largest_difference(_paged_logits(paged, sequences, attention), expected)
        _check_disagreement(disagreement, refused)
        if _has_long_window(loaded, sequences):
            in_windows = _disagreement_in_narrow_windows(loaded, attention, sequences)
            _check_disagreement(in_windows, f"{refused}: with sliding windows of {_NARROW_WINDOW} positions")
            disagreement = max(disagreement, in_windows)
        if not is_rounded:
            return Proof(disagreement, rounding=None)
        rounding, wrong = _measure_rounding(loaded, attention, sequences, expected)
    if wrong is not None:
        raise SelfProofFailed(
            f"{refused} in {loaded.weights}: the paged path agrees with the stock model in float32, and "
            f"not as it serves: in standard deviations of the logits, {wrong}"
        )
    return Proof(disagreement, rounding)


def _make_sequences(loaded: LoadedModel, generator: torch.Generator, text: Sequence[int]) -> list[ProofSequence]:
    make = make_sequences if loaded.decoding is None else make_encoded_sequences
    return make(loaded, generator, text)


def _stock_logits(stock: LoadedModel, sequences: Sequence[ProofSequence]) -> list[torch.Tensor]:
    compute = stock_logits if stock.decoding is None else stock_encoded_logits
    return compute(stock, sequences)


def _paged_logits(
    loaded: LoadedModel, sequences: Sequence[ProofSequence], attention: AttentionBackend
) -> list[torch.Tensor]:
    compute = paged_logits if loaded.decoding is None else paged_encoded_logits
    return compute(loaded, sequences, attention)


def _check_disagreement(disagreement: float, refused: str) -> None:
    if not disagreement <= _TOLERANCE:  # NaN fails too
        raise SelfProofFailed(
            f"{refused}: the paged path and the stock model disagree by {disagreement:.2g} standard deviations of "
            f"the logits (allowed: {_TOLERANCE:.2g})"
        )


def _has_long_window(loaded: LoadedModel, sequences: Sequence[ProofSequence]) -> bool:
    longest = max(sequence.num_virtual_tokens + len(sequence.tokens) for sequence in sequences)
    return any(window is not None and window >= longest for window in _windows(loaded))


def _windows(loaded: LoadedModel) -> list[int | None]:
    return [layer.sliding_window for layer in loaded.architecture.layers]


def _disagreement_in_narrow_windows(
    loaded: LoadedModel, attention: AttentionBackend, sequences: Sequence[ProofSequence]
) -> float:
    """The largest difference with windows that the sequences cross. 0 if the configuration cannot narrow them."""
    paged = _with_twin(loaded, is_paged=True, in_float32=True, sliding_window=_NARROW_WINDOW)
    narrowed = replace(paged, architecture=read_architecture(paged.model))
    if _windows(narrowed) != [None if window is None else _NARROW_WINDOW for window in _windows(loaded)]:
        return 0.0
    stock = _with_twin(loaded, in_float32=True, sliding_window=_NARROW_WINDOW)
    return _largest_difference(_paged_logits(narrowed, sequences, attention), _stock_logits(stock, sequences))


def _with_twin(
    loaded: LoadedModel, *, is_paged: bool = False, in_float32: bool = False, sliding_window: int | None = None
) -> LoadedModel:
    twin = make_twin(loaded.model, sliding_window=sliding_window)
    if is_paged:
        adopt_attention(twin, loaded.model)
    if not in_float32:
        return replace(loaded, model=twin)
    if loaded.weights != "float32":
        compute_in_float32(twin)
    return replace(loaded, model=twin, dtype=torch.float32, quantised_to=None)


def _check_stock(logits: list[torch.Tensor], dtype: torch.dtype) -> None:
    """Refuse logits that nothing can be compared with: NaN, infinity, or all equal."""
    if not _are_finite(logits):
        raise SelfProofFailed(
            f"these weights cannot be served in {dtype_name(dtype)}: transformers' own forward pass makes NaN or "
            "infinity of them; if the files are whole, try another --dtype"
        )
    if not float(torch.cat(logits).std()) > 0:
        raise SelfProofFailed("these weights cannot be served: their logits are all the same, whatever the text")


def _are_finite(logits: list[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(rows).all()) for rows in logits)


def _largest_difference(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in zip(actual, expected, strict=True))
    return difference / float(torch.cat(expected).std())


def _measure_rounding(
    loaded: LoadedModel, attention: AttentionBackend, sequences: list[ProofSequence], expected: list[torch.Tensor]
) -> tuple[Rounding, str | None]:
    """Compare the model as it serves with the stock model, both with what float32 expects."""
    stock = _stock_logits(_with_twin(loaded), sequences)
    if not _are_finite(stock):
        raise SelfProofFailed(
            f"these weights cannot be served in {loaded.weights}: transformers' own forward pass overflows "
            f"its range, and makes NaN or infinity of them; try {_OTHER_WEIGHTS[loaded.weights]}"
        )
    served = _paged_logits(loaded, sequences, attention)
    assert loaded.rounding_epsilon is not None
    return measure_rounding(served, stock, expected, sequences, loaded.rounding_epsilon)
