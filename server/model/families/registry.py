"""The architectures with attention of their own, by model type, and where it is put into a model."""

from __future__ import annotations

from importlib import import_module

from transformers import PreTrainedConfig, PreTrainedModel

from server.model.attention import ATTENTION_NAME
from server.model.encoder_decoder.install import install
from server.model.families.own_attention import OwnAttention

FAMILIES = {
    "bloom": "BloomAttention",
    "codegen": "CodeGenAttention",
    "falcon": "FalconAttention",
    "gpt_neo": "GPTNeoAttention",
    "gpt_neox_japanese": "GPTNeoXJapaneseAttention",
    "gptj": "GPTJAttention",
    "mpt": "MptAttention",
    "xglm": "XGLMAttention",
}
"""The class of each, in the module that the model type names. A start imports that of its own base model at most."""


def family_of(config: PreTrainedConfig) -> type[OwnAttention] | None:
    """The attention of the configuration's architecture; None for those that call transformers' interface."""
    model_type = config.get_text_config().model_type
    if model_type not in FAMILIES:
        return None
    family: type[OwnAttention] = getattr(import_module(f"server.model.families.{model_type}"), FAMILIES[model_type])
    return family


def built_with(config: PreTrainedConfig) -> str:
    """The attention implementation that transformers builds the served model with."""
    family = family_of(config)
    return ATTENTION_NAME if family is None else family.stock


def stock_attention(config: PreTrainedConfig) -> str:
    """The attention implementation of a twin, which is transformers' own."""
    family = family_of(config)
    return "eager" if family is None else family.stock


def install_attention(model: PreTrainedModel, num_positions: int) -> None:
    """Replace the forward pass of each attention module. Sequences may have at most `num_positions`."""
    family = family_of(model.config)
    assert family is not None
    bias = family.make_bias(model.config, num_positions, model.device)
    replaced = [module for module in model.modules() if isinstance(module, family.replaces)]
    for layer, module in enumerate(replaced):
        module.forward = family(module, layer, bias)
    model.config._attn_implementation = family.implementation


def adopt_attention(twin: PreTrainedModel, model: PreTrainedModel) -> None:
    """Give the twin of a served `model` the same attention over the context."""
    family = family_of(model.config)
    if family is None:
        twin.set_attn_implementation(ATTENTION_NAME)
        if twin.config.is_encoder_decoder:
            install(twin)
        return
    for name, module in model.named_modules():
        if isinstance(own := vars(module).get("forward"), OwnAttention):
            twin.get_submodule(name).forward = own.on(twin.get_submodule(name))
    twin.config._attn_implementation = family.implementation
