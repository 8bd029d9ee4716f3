"""A base model so small that a tuning run takes a second, and examples for it."""

from __future__ import annotations

import json
from functools import cache

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from prompts_store.checkpoint_records import BaseModel
from prompts_store.manifest import Manifest
from server.model.architecture import read_architecture
from server.model.attention import register_attention
from server.model.base_model import LoadedModel
from server.model.families.registry import built_with
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.examples import ExampleSet, read_examples
from server.tuning.job import TuningJob
from server.tuning.plan import TuningPlan
from server.tuning.split import tuning_data
from tests.fakes.tokenizers import byte_level

MANIFEST = Manifest(template=" {input} ->\n", add_special_tokens=False)
BASE_NAME = "tiny/base"


def loaded_from(model: PreTrainedModel) -> LoadedModel:
    """A model made in memory as the server holds one: frozen, evaluated, with our attention function."""
    register_attention()
    model.requires_grad_(False).train(False)
    model.set_attn_implementation(built_with(model.config))
    return LoadedModel(model, read_architecture(model), torch.float32, torch.device("cpu"), frozenset())


@cache
def tiny_model(vocab_size: int = byte_level().vocab_size) -> LoadedModel:
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return loaded_from(model)


def tiny_base() -> BaseModel:
    architecture = tiny_model().architecture
    heads, head_dim = architecture.uniform_kv or (0, 0)
    return BaseModel("f" * 64, (BASE_NAME,), 32, 2, heads, head_dim, 96, "float32")


def jsonl(*rows: dict) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def vowel_examples(num_examples: int = 40, *, start: int = 0) -> ExampleSet:
    """Texts and whether they begin with "a" or "o": easy enough for two layers."""
    rows = [
        {"text": f"{'ao'[number % 2]} {number}", "label": ("yes", "no")[number % 2]}
        for number in range(start, start + num_examples)
    ]
    return read_examples(jsonl(*rows))


def tiny_job(plan: TuningPlan, **changes) -> TuningJob:
    tokenizer: Tokenizer = byte_level()
    end = tokenizer.eos_token_id
    assert end is not None
    values = {"plan": plan, "data": tuning_data(vowel_examples()), "manifest": MANIFEST, "base_name": BASE_NAME}
    return TuningJob(**{**values, "end_token_id": end, **changes})
