"""The architectures with attention of their own, by model type, and where it is put into a model."""

from __future__ import annotations

from transformers import PreTrainedConfig, PreTrainedModel

from server.model.attention import ATTENTION_NAME
from server.model.encoder_decoder.install import install
from server.model.families.bloom import BloomAttention
from server.model.families.codegen import CodeGenAttention
from server.model.families.falcon import FalconAttention
from server.model.families.gpt_neo import GPTNeoAttention
from server.model.families.gpt_neox_japanese import GPTNeoXJapaneseAttention
from server.model.families.gptj import GPTJAttention
from server.model.families.mpt import MptAttention
from server.model.families.own_attention import OwnAttention
from server.model.families.xglm import XGLMAttention

FAMILIES: dict[str, type[OwnAttention]] = {
    "bloom": BloomAttention,
    "codegen": CodeGenAttention,
    "falcon": FalconAttention,
    "gpt_neo": GPTNeoAttention,
    "gpt_neox_japanese": GPTNeoXJapaneseAttention,
    "gptj": GPTJAttention,
    "mpt": MptAttention,
    "xglm": XGLMAttention,
}


def family_of(config: PreTrainedConfig) -> type[OwnAttention] | None:
    """The attention of the configuration's architecture; None for those that call transformers' interface."""
    return FAMILIES.get(config.get_text_config().model_type)


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
