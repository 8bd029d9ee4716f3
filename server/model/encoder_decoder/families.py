"""The encoder-decoder model types that are served."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig

_DEFAULT_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between them.

    With `has_relative_bias` (T5) no length is the longest, and `cross_returns_bias` says whether cross-attention
    modules return a bias too.
    """

    has_relative_bias: bool
    cross_returns_bias: bool = False


_T5 = Family(has_relative_bias=True, cross_returns_bias=True)
_BART = Family(has_relative_bias=False)
FAMILIES = {
    "t5": _T5,
    "mt5": _T5,
    "umt5": Family(has_relative_bias=True),
    "bart": _BART,
    "mbart": _BART,
    "pegasus": _BART,
    "blenderbot": _BART,
    "blenderbot-small": _BART,
    "marian": _BART,
    "plbart": _BART,
}


def is_encoder_decoder(config: PreTrainedConfig) -> bool:
    """Whether a configuration is of an encoder and a decoder that are served; some have a decoder alone."""
    return bool(config.is_encoder_decoder) and config.model_type in FAMILIES


def max_positions(config: PreTrainedConfig, wanted: int | None) -> int:
    """The longest input of the encoder, and of the decoder. `wanted` lowers a limit of the model, or replaces ours."""
    limit = None if FAMILIES[config.model_type].has_relative_bias else int(config.max_position_embeddings)
    if limit is None:
        return wanted or _DEFAULT_CONTEXT
    return limit if wanted is None else min(limit, wanted)
