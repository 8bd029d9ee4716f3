"""Where our attention is put into an encoder, and the stock attention that it is compared with."""

from __future__ import annotations

from importlib import import_module

from transformers import PreTrainedConfig, PreTrainedModel

from server.model.encoder.attention import ENCODER_ATTENTION

# By model type, the module that installs an attention of its own.
_OWN = {"deberta-v2": "deberta_v2", "mpnet": "mpnet"}
STOCK_ATTENTION = "eager"


def built_with(config: PreTrainedConfig) -> str:
    """The attention implementation that transformers builds a served encoder with."""
    return STOCK_ATTENTION if config.model_type in _OWN else ENCODER_ATTENTION


def install(model: PreTrainedModel) -> None:
    """Replace the attention of an architecture that does not call transformers' interface; once per model.

    Raises `UnsupportedArchitecture`.
    """
    if own := _OWN.get(model.config.model_type):
        import_module(f"server.model.encoder.{own}").install(model)
