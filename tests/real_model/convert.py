"""Turns a Llama's GGUF file into folders that transformers loads: configuration, weights, tokenizer, chat template."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

_OF_THE_FILE = ("quantization_config", "_name_or_path", "_model_name_or_path")


def convert(gguf: Path, folder: Path) -> None:
    """Write the dequantised model in float32.

    transformers refuses to save the model that it reads from such a file, so a fresh one is filled.
    """
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = {name: value for name, value in read.config.to_dict().items() if name not in _OF_THE_FILE}
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(read.state_dict())
    start, end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>"))
    special = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    model.generation_config = GenerationConfig.from_dict(special)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def cast(source: Path, folder: Path, dtype: str) -> None:
    """Write the model of one folder to another, in another dtype."""
    AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
