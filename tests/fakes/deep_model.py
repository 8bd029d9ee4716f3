"""A deep random model with the outliers that trained models have."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def build_deep(num_layers: int = 30, hidden_size: int = 64, seed: int = 0) -> LlamaForCausalLM:
    """A Llama in which one channel in 32 of the residual stream is forty times larger than the rest, for every token.

    The norms damp these channels, as trained ones do. In bfloat16 what is added to them is rounded away.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    outliers = torch.randperm(hidden_size)[: hidden_size // 32]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
        embeddings = model.get_input_embeddings().weight
        embeddings[:, outliers] = 40 * embeddings.std()
        for layer in model.model.layers:
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight.uniform_(0.5, 1.5)
                norm.weight[outliers] = 0.05
            for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
                writer.weight.mul_(num_layers**-0.5)  # as initial weights are scaled: depth alone makes no chaos
        model.model.norm.weight[outliers] = 0.05
    return model.eval()
