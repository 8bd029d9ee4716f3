"""Tiny seeded encoders of every family that is served, and of families that are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AlbertConfig,
    AutoModel,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GteConfig,
    MegatronBertConfig,
    MobileBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    XLMRobertaConfig,
)

from server.model.encoder.kind import is_encoder
from tests.parity.tiny_configs import tiny_config

VOCAB_SIZE = 61
MAX_POSITIONS = 96

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_POSITIONS,
}
# Wide enough that a CPU packs the linear layers.
_WIDE = {**_COMMON, "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}

ENCODERS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**_COMMON),
    "bert-wide": lambda: BertConfig(**_WIDE),
    "roberta": lambda: RobertaConfig(**_COMMON),
    "xlm-roberta": lambda: XLMRobertaConfig(**_COMMON),
    "camembert": lambda: CamembertConfig(**_COMMON),
    "electra": lambda: ElectraConfig(**_COMMON, embedding_size=32),
    "electra-narrow": lambda: ElectraConfig(**_COMMON, embedding_size=16),
    "albert": lambda: AlbertConfig(**_COMMON, embedding_size=32),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCAB_SIZE, dim=32, hidden_dim=48, n_layers=2, n_heads=4, max_position_embeddings=MAX_POSITIONS
    ),
    # As DeBERTa-v3 is.
    "deberta-v2": lambda: DebertaV2Config(
        **_COMMON,
        **_RELATIVE,
        position_buckets=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
    ),
    "deberta-v2-wide": lambda: DebertaV2Config(**_WIDE, **_RELATIVE, position_buckets=8, share_att_key=True),
    "deberta-v2-unshared": lambda: DebertaV2Config(**_COMMON, **_RELATIVE),
    "deberta-v2-absolute": lambda: DebertaV2Config(**_COMMON),
    "mpnet": lambda: MPNetConfig(**_COMMON),
    "modernbert": lambda: ModernBertConfig(**_COMMON, local_attention=8, pad_token_id=0),
    "gte": lambda: GteConfig(**_COMMON),
}

_WITH_IMAGES = frozenset({"modernvbert", "ultravbert"})

REFUSED: dict[str, Callable[[], PreTrainedConfig]] = {
    "megatron-bert": lambda: MegatronBertConfig(**_COMMON),
    "mobilebert": lambda: MobileBertConfig(**_COMMON),
    "deberta-v2": lambda: DebertaV2Config(**_COMMON, **_RELATIVE, conv_kernel_size=3),
}


def other_encoders() -> list[str]:
    """Model types of encoders without a configuration in `ENCODERS`, of text alone."""
    own = {config().model_type for config in ENCODERS.values()}
    types = dict.fromkeys(config.model_type for config in MODEL_FOR_MASKED_LM_MAPPING)
    found = [name for name in types if name not in own and is_encoder(CONFIG_MAPPING[name]())]
    return [name for name in found if name not in _WITH_IMAGES]


def encoder_config(family: str) -> PreTrainedConfig:
    """The tiny configuration of a family, or of any other model type."""
    if family in ENCODERS:
        return ENCODERS[family]()
    usual = getattr(CONFIG_MAPPING[family](), "pad_token_id", None)
    return tiny_config(family, pad_token_id=usual if usual in range(VOCAB_SIZE) else 0)


def build_encoder(config: PreTrainedConfig, auto: Any = AutoModel) -> PreTrainedModel:
    """A float32 model with weights wide enough that every row differs from every other."""
    torch.manual_seed(0)
    model: PreTrainedModel = auto.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25 * (32 / 256 if parameter.shape[-1] >= 256 else 1) ** 0.5)
    return model
