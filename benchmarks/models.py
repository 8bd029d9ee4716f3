"""The models of the benchmarks: the demo model, a real one, random weights shaped as Llamas and a small GPT-2."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.folders import CACHE, REAL_MODEL
from benchmarks.tokenizer_stub import save_tokenizer

DEMO = "demo"
LLAMA_135M = "llama-135m"
SMOLLM2 = "smollm2-135m"
GPT2 = "gpt2-tiny"
NAMES = (LLAMA_135M, DEMO, SMOLLM2)

_EMBEDDING_STD = 0.02
# Large enough that an answer depends on its context, small enough that rounding is not amplified into other tokens.
_LINEAR_GAIN = 0.04 * math.sqrt(576)


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """A Llama's sizes, and the type that its weights are stored in. `is_tied`: embeddings are the last layer too."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    is_tied: bool
    dtype: str

    @property
    def head_dim(self) -> int:
        """Numbers of a head's query, key or value."""
        return self.hidden_size // self.num_heads

    @property
    def num_step_weights(self) -> int:
        """Weights that any step multiplies with: all but an embedding table that is only looked up."""
        attention = 2 * self.hidden_size * (self.num_heads + self.num_kv_heads) * self.head_dim
        return (
            self.num_layers * (attention + 3 * self.hidden_size * self.intermediate_size)
            + self.vocab_size * self.hidden_size
        )


SHAPES = {
    LLAMA_135M: LlamaShape(49_152, 576, 1_536, 30, 9, 3, is_tied=True, dtype="float32"),
    "llama-tiny": LlamaShape(512, 64, 128, 2, 4, 2, is_tied=True, dtype="float32"),
    "llama-1.5b": LlamaShape(151_936, 1_536, 8_960, 28, 12, 2, is_tied=True, dtype="bfloat16"),
    "llama-7b": LlamaShape(32_000, 4_096, 11_008, 32, 32, 32, is_tied=False, dtype="bfloat16"),
}


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


def prepare(name: str, device: str = "cpu") -> BenchModel:
    """The model of a name; one of random weights is built on `device` the first time, and kept in the cache folder."""
    if name == DEMO:
        from server.demo import BASE_DIR

        return _describe(name, BASE_DIR, embedding_std=0.04)
    if name == SMOLLM2:
        if not REAL_MODEL.exists():
            raise FileNotFoundError(f"there is no {REAL_MODEL}: make real-model")
        return _describe(name, REAL_MODEL, embedding_std=0.136)
    folder = CACHE / "models" / name
    if not (folder / "complete").exists():
        if name == GPT2:
            _build_gpt2(folder)
        else:
            _build_llama(folder, SHAPES[name], device)
        (folder / "complete").touch()
    return _describe(name, folder, _EMBEDDING_STD)


def _describe(name: str, folder: Path, embedding_std: float) -> BenchModel:
    config = json.loads((folder / "config.json").read_text())
    hidden_size = config.get("hidden_size") or config["n_embd"]
    return BenchModel(name, str(folder), config["vocab_size"], hidden_size, embedding_std)


def _build_llama(folder: Path, shape: LlamaShape, device: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=shape.is_tied,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        dtype=shape.dtype,
    )
    build: Callable[..., Any] = AutoModelForCausalLM.from_config
    with torch.device(device):
        model = build(config, dtype=getattr(torch, shape.dtype))
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                std = _EMBEDDING_STD if "embed" in name else _LINEAR_GAIN / math.sqrt(shape.hidden_size)
                parameter.normal_(std=std, generator=generator)
    model.save_pretrained(str(folder))
    save_tokenizer(folder, config.vocab_size)


def _build_gpt2(folder: Path) -> None:
    """A GPT-2 of the demo model's sizes."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=2_048, n_positions=512, n_embd=256, n_layer=5, n_head=8, n_inner=704, **ids)
    GPT2LMHeadModel(config).save_pretrained(str(folder))
    save_tokenizer(folder, config.vocab_size)
