"""Which base models are encoders."""

from __future__ import annotations

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, PreTrainedConfig

_WRITERS = ("ForCausalLM", "LMHeadModel")


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether a base model only reads: a type with a masked language model, unless it was saved as one that writes."""
    if getattr(config, "is_encoder_decoder", False) or type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        return False
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return True
    saved_as = config.architectures or ()
    return not getattr(config, "is_decoder", False) and not any(name.endswith(_WRITERS) for name in saved_as)
