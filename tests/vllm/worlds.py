"""Tiny random models, soft prompts of each PEFT type, and what PEFT's own `generate` answers, without vLLM."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as t
from peft import (
    CartridgeConfig,
    CPTConfig,
    MultitaskPromptTuningConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

from softprompt_vllm.prefix_file import write_key_values

VOCAB = 384
NUM_NEW = 16
TEXT_LENGTHS = (7, 1, 40)
KINDS = {
    "prompt": 5,
    "prompt long": 100,
    "p": 16,
    "multitask": 19,
    "cpt": 33,
    "prefix": 19,
    "prefix long": 100,
    "cartridge": 40,
}
"""The soft prompts of a world, with their numbers of virtual tokens: below, at and above whole blocks of 32."""

_LLAMA: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_GPT: dict[str, Any] = {"vocab_size": VOCAB, "n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 512}
_FALCON: dict[str, Any] = {
    name: _LLAMA[name]
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
}
CONFIGS: dict[str, Callable[[], t.PreTrainedConfig]] = {
    "llama": lambda: t.LlamaConfig(**_LLAMA),
    "qwen2": lambda: t.Qwen2Config(**_LLAMA),
    "qwen3": lambda: t.Qwen3Config(**_LLAMA, head_dim=32),
    "gpt2": lambda: t.GPT2Config(**_GPT),
    "opt": lambda: t.OPTConfig(
        **_FALCON, ffn_dim=192, word_embed_proj_dim=128, pad_token_id=1, bos_token_id=2, eos_token_id=2
    ),
    "mistral": lambda: t.MistralConfig(**_LLAMA, sliding_window=48),
    "gemma3": lambda: t.Gemma3TextConfig(
        **(_LLAMA | {"num_hidden_layers": 6}), head_dim=32, sliding_window=64, query_pre_attn_scalar=32
    ),
    "bloom": lambda: t.BloomConfig(vocab_size=VOCAB, hidden_size=128, n_layer=3, n_head=4),
    "gptj": lambda: t.GPTJConfig(**_GPT, rotary_dim=16),
    "stablelm": lambda: t.StableLmConfig(**(_LLAMA | {"num_key_value_heads": 4})),
    "gpt_neox": lambda: t.GPTNeoXConfig(**_FALCON, intermediate_size=192),
    "falcon": lambda: t.FalconConfig(
        **_FALCON, multi_query=True, new_decoder_architecture=False, parallel_attn=True, bias=False
    ),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One soft prompt. `rows` are None if a file has keys and values. `answers` belong to the world's texts."""

    name: str
    digest: str
    num_virtual_tokens: int
    rows: torch.Tensor | None
    answers: list[list[int]]


@dataclass(frozen=True, slots=True)
class World:
    """A model folder, a folder of files, and what PEFT answers. `refused` has PEFT's reason for each other kind."""

    model: Path
    files: Path
    texts: list[list[int]]
    plain: list[list[int]]
    tasks: list[Task]
    refused: dict[str, str]


def make_world(architecture: str, folder: Path, kinds: tuple[str, ...] = tuple(KINDS)) -> World:
    """Build a model with soft prompts of these kinds, and let PEFT answer every text alone and unpadded."""
    torch.manual_seed(sum(map(ord, architecture)))
    model = _random_model(CONFIGS[architecture]())
    model.save_pretrained(folder / "model")
    _save_tokenizer(folder / "model")
    model.config._attn_implementation = "eager"
    files = folder / "files"
    files.mkdir()
    generator = torch.Generator().manual_seed(5)
    texts = [torch.randint(3, VOCAB, (length,), generator=generator).tolist() for length in TEXT_LENGTHS]
    tasks, refused = [], {}
    for number, kind in enumerate(kinds):
        try:
            tasks.append(_make_task(model, folder, kind, number, texts))
        except Exception as error:
            refused[kind] = " ".join(str(error).split())[:160]
    return World(folder / "model", files, texts, [_answer(model, text) for text in texts], tasks, refused)


def digest_of(*parts: object) -> str:
    """A digest of the right form."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _random_model(config: t.PreTrainedConfig) -> t.PreTrainedModel:
    """Weights so large that the text and the prefix decide the answer, and not the last token alone."""
    model = t.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    tied = config.tie_word_embeddings
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                small = 0.03 if config.model_type == "gemma3_text" else 0.1
                inner = (2.5 if tied else 1.6) / parameter.shape[1] ** 0.5
                is_embedding = "emb" in name or "wte" in name or "wpe" in name
                parameter.normal_(0, (small if tied else 1.0) if is_embedding else inner)
            elif "bias" in name:
                parameter.normal_(0, 0.1)
        model.tie_weights()
    model.generation_config = t.GenerationConfig()
    return model.requires_grad_(False)


def _save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0", eos_token="w2", pad_token="w1")
    fast.save_pretrained(folder)


def _peft_config(kind: str) -> Any:
    num = KINDS[kind]
    common: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": num}
    match kind.split()[0]:
        case "prompt":
            return PromptTuningConfig(**common)
        case "p":
            return PromptEncoderConfig(**common, encoder_hidden_size=32)
        case "multitask":
            return MultitaskPromptTuningConfig(**common, num_tasks=2, num_ranks=2)
        case "cpt":
            ids = [number % (VOCAB - 3) + 3 for number in range(num)]
            return CPTConfig(
                task_type="CAUSAL_LM", cpt_token_ids=ids, cpt_tokens_type_mask=[1 + i % 4 for i in range(num)]
            )
        case "prefix":
            return PrefixTuningConfig(**common)
        case _:
            return CartridgeConfig(**common, num_frozen_tokens=2)


def _make_task(model: t.PreTrainedModel, folder: Path, kind: str, number: int, texts: list[list[int]]) -> Task:
    embeddings = model.get_input_embeddings()(torch.arange(VOCAB)).std()
    wrapped = get_peft_model(copy.deepcopy(model), _peft_config(kind))
    generator = torch.Generator().manual_seed(100 + number)
    is_file = kind.startswith(("prefix", "cartridge"))
    with torch.no_grad():
        for parameter in wrapped.prompt_encoder.parameters():
            scale = 1.0 if is_file or kind == "multitask" else float(embeddings)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    wrapped.save_pretrained(str(folder / kind))
    peft = PeftModel.from_pretrained(copy.deepcopy(model), str(folder / kind)).eval()
    extra = {"task_ids": torch.tensor([1])} if kind == "multitask" else {}
    answers = [_answer(peft, text, **extra) for text in texts]
    tensors = load_file(folder / kind / "adapter_model.safetensors")
    digest, num = digest_of(model.config.model_type, kind), KINDS[kind]
    rows = tensors["prompt_embeddings"]
    if is_file:
        config = peft.peft_config["default"]
        pairs = rows.view(num, 2 * config.num_layers, config.num_attention_heads, -1).transpose(0, 1)
        write_key_values(folder / "files", digest, [(pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2)])
        return Task(kind, digest, num, None, answers)
    if kind == "multitask":
        rows = rows * (tensors["prefix_task_cols"][1] @ tensors["prefix_task_rows"][1])
    return Task(kind, digest, num, rows, answers)


@torch.no_grad()
def _answer(model: Any, text: list[int], **extra: Any) -> list[int]:
    ids = torch.tensor([text])
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NUM_NEW,
        eos_token_id=None,
        pad_token_id=0,
        **extra,
    )
    return output[0, len(text) :].tolist()
