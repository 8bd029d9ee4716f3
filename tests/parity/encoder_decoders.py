"""Tiny seeded models of every encoder-decoder family that is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BlenderbotConfig,
    BlenderbotSmallConfig,
    MarianConfig,
    MBartConfig,
    MT5Config,
    PegasusConfig,
    PLBartConfig,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    UMT5Config,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

from tests.parity.architectures import MAX_CONTEXT, VOCAB_SIZE, build_from
from tests.parity.tiny_configs import tiny_config

_SPEECH = frozenset({"seamless_m4t", "seamless_m4t_v2"})
_IDS: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": None, "decoder_start_token_id": 0}
T5_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    **_IDS,
}
BART_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": MAX_CONTEXT,
    "scale_embedding": True,
    "bos_token_id": None,
    "forced_eos_token_id": None,
    **_IDS,
}

ENCODER_DECODERS: dict[str, Callable[[], PreTrainedConfig]] = {
    "t5": lambda: T5Config(**T5_SIZES),
    "t5-gated": lambda: T5Config(**T5_SIZES, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "mt5": lambda: MT5Config(**T5_SIZES),
    "umt5": lambda: UMT5Config(**T5_SIZES),
    "bart": lambda: BartConfig(**BART_SIZES | {"forced_bos_token_id": 5, "forced_eos_token_id": 7}),
    # As DistilBART is: PEFT counts the layers of the encoder.
    "bart-distilled": lambda: BartConfig(**BART_SIZES | {"encoder_layers": 3}),
    "t5-shallow": lambda: T5Config(**T5_SIZES | {"num_layers": 3}),
    "mbart": lambda: MBartConfig(**BART_SIZES),
    "pegasus": lambda: PegasusConfig(**BART_SIZES),
    "blenderbot": lambda: BlenderbotConfig(**BART_SIZES, encoder_no_repeat_ngram_size=0),
    "blenderbot-small": lambda: BlenderbotSmallConfig(**BART_SIZES),
    "marian": lambda: MarianConfig(**BART_SIZES),
    "plbart": lambda: PLBartConfig(**BART_SIZES),
}


def other_encoder_decoders() -> list[str]:
    """Model types of encoder-decoders without a configuration in `ENCODER_DECODERS`, of text alone."""
    own = {config().model_type for config in ENCODER_DECODERS.values()}
    types = dict.fromkeys(config.model_type for config in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING)
    return [name for name in types if name not in own and not CONFIG_MAPPING[name].sub_configs and name not in _SPEECH]


def encoder_decoder_config(name: str) -> PreTrainedConfig:
    """The tiny configuration of a family, or of any other model type."""
    return ENCODER_DECODERS[name]() if name in ENCODER_DECODERS else tiny_config(name, **_IDS)


def build_encoder_decoder(name: str) -> PreTrainedModel:
    """The model of this name, of seeded random weights."""
    return build_from(encoder_decoder_config(name), AutoModelForSeq2SeqLM)
