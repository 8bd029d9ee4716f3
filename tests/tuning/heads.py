"""Tiny base models that heads are trained on, and encoder-decoders, as a server holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import CartridgeConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from server.model.architecture import read_architecture
from server.model.attention import register_attention
from server.model.base_model import LoadedModel
from server.model.encoder.architecture import read_encoder_architecture
from server.model.encoder.attention import register_encoder_attention
from server.model.encoder.installed import built_with, install
from server.model.encoder_decoder.decoding import read_decoding
from server.model.families import registry
from server.tuning.plan import Method
from tests.fakes.tokenizers import byte_level
from tests.parity.architectures import CONFIGS as DECODERS
from tests.parity.architectures import MAX_CONTEXT, VOCAB_SIZE
from tests.parity.encoder_decoders import ENCODER_DECODERS
from tests.tuning.tiny import loaded_from

_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_CONTEXT,
}
ENCODERS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**_SIZES),
    "roberta": lambda: RobertaConfig(**_SIZES),
    "electra": lambda: ElectraConfig(**_SIZES, embedding_size=32),
    "albert": lambda: AlbertConfig(**_SIZES, embedding_size=16),
    "deberta": lambda: DebertaV2Config(**_SIZES),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCAB_SIZE, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=MAX_CONTEXT
    ),
}
CONFIGS = {
    Method.PROMPT_TUNING: PromptTuningConfig,
    Method.P_TUNING: PromptEncoderConfig,
    Method.PREFIX_TUNING: PrefixTuningConfig,
    Method.CARTRIDGE: CartridgeConfig,
}


CPU = torch.device("cpu")


def build_encoder(name: str) -> PreTrainedModel:
    """An encoder with transformers' own attention, whose weights are so wide that each position matters."""
    torch.manual_seed(0)
    return wide(AutoModel.from_config(ENCODERS[name](), attn_implementation="eager"))


def build_encoder_decoder(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return wide(AutoModelForSeq2SeqLM.from_config(ENCODER_DECODERS[name](), attn_implementation="eager"))


def encoder_from(model: PreTrainedModel) -> LoadedModel:
    """An encoder made in memory as the server holds one."""
    register_encoder_attention()
    model.set_attn_implementation(built_with(model.config))
    install(model)
    return LoadedModel(model, read_encoder_architecture(model), torch.float32, CPU, frozenset())


def encoder_decoder_from(model: PreTrainedModel) -> LoadedModel:
    """An encoder-decoder made in memory as the server holds one."""
    register_attention()
    model.set_attn_implementation(registry.built_with(model.config))
    decoding = read_decoding(model.generation_config)
    return LoadedModel(model, read_architecture(model), torch.float32, CPU, frozenset(), decoding)


def peft_around(model: PreTrainedModel, method: Method, task_type: str, num_virtual_tokens: int, **sizes) -> PeftModel:
    """PEFT's own model around a stock model, in evaluation mode."""
    width = model.get_input_embeddings().weight.shape[1]
    extra = {"encoder_hidden_size": width} if method is Method.P_TUNING else {}
    config = CONFIGS[method](task_type=task_type, num_virtual_tokens=num_virtual_tokens, **extra, **sizes)
    return get_peft_model(model, config).eval()


def wide(model: PreTrainedModel) -> PreTrainedModel:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
    return model.requires_grad_(False).eval()


def learner(name: str) -> LoadedModel:
    """A base model whose embeddings have the tokens of `byte_level`, so that it can learn from texts.

    The head of an encoder-decoder is wide: with random weights it could not name a token clearly otherwise.
    """
    torch.manual_seed(0)
    sizes = {"vocab_size": byte_level().vocab_size, "pad_token_id": 1, "eos_token_id": 0}
    match name:
        case "bert" | "roberta":
            config = ENCODERS[name]()
        case "t5-gated" | "bart":
            config = ENCODER_DECODERS[name]()
        case _:
            config = DECODERS[name]()
    config.update(sizes)
    if name in ENCODERS:
        return encoder_from(wide(AutoModel.from_config(config, attn_implementation="eager")))
    if name in ENCODER_DECODERS:
        config.update({"forced_bos_token_id": None, "forced_eos_token_id": None})
        model = wide(AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager"))
        model.get_output_embeddings().weight.data.mul_(4)
        return encoder_decoder_from(model)
    return loaded_from(wide(AutoModelForCausalLM.from_config(config, attn_implementation="eager")))
