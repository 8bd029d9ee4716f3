"""The models of the comparison: the demo model, and random weights in the shape of a 135 M Llama."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.folders import CACHE
from benchmarks.tokenizer_stub import save_tokenizer

DEMO = "demo"
LLAMA_135M = "llama-135m"
NAMES = (LLAMA_135M, DEMO)

_EMBEDDING_STD = 0.02
# Large enough that an answer depends on its context, small enough that rounding is not amplified into other tokens.
_LINEAR_STD = 0.04


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model folder and what workloads and soft prompts need of it.

    `embedding_std` is the spread of its embeddings.
    """

    name: str
    folder: str
    vocab_size: int
    hidden_size: int
    embedding_std: float


def prepare(name: str) -> BenchModel:
    """The model of a name; the random one is built and kept in the cache folder the first time."""
    if name == DEMO:
        from server.demo import BASE_DIR

        return _describe(name, BASE_DIR, embedding_std=0.04)
    folder = CACHE / "models" / name
    if not (folder / "complete").exists():
        _build_llama(folder)
        (folder / "complete").touch()
    return _describe(name, folder, _EMBEDDING_STD)


def _describe(name: str, folder: Path, embedding_std: float) -> BenchModel:
    config = json.loads((folder / "config.json").read_text())
    return BenchModel(name, str(folder), config["vocab_size"], config["hidden_size"], embedding_std)


def _build_llama(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                std = _EMBEDDING_STD if "embed" in name else _LINEAR_STD
                parameter.normal_(std=std, generator=generator)
    model.save_pretrained(str(folder))
    save_tokenizer(folder, config.vocab_size)
