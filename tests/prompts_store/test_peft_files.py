"""Files that PEFT itself writes, for every prompt type: read as PEFT uses them, and written back byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
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
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.writer import write_tensors
from prompts_store.checkpoint_records import BaseModel, PeftType, TensorKind
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES

# PEFT reads a property that transformers is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

NUM_TASKS = 3
BASES = {
    "llama": BaseModel("f", (), 16, 2, 2, 4, 64, "float32"),
    "gpt2": BaseModel("f", (), 16, 2, 4, 4, 64, "float32"),
}
COMMON: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
CONFIGS: dict[str, Any] = {
    "prompt": lambda: PromptTuningConfig(**COMMON),
    "p": lambda: PromptEncoderConfig(**COMMON, encoder_hidden_size=8),
    "p-lstm": lambda: PromptEncoderConfig(**COMMON, encoder_reparameterization_type="LSTM", encoder_hidden_size=8),
    "multitask": lambda: MultitaskPromptTuningConfig(**COMMON, num_tasks=NUM_TASKS, num_ranks=2),
    "cpt": lambda: CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[1, 2, 3], cpt_tokens_type_mask=[1, 2, 3]),
    "prefix": lambda: PrefixTuningConfig(**COMMON),
    "prefix-projected": lambda: PrefixTuningConfig(**COMMON, prefix_projection=True, encoder_hidden_size=8),
    "cartridge": lambda: CartridgeConfig(**COMMON, num_frozen_tokens=2),
}


def base_model(architecture: str) -> Any:
    torch.manual_seed(0)
    if architecture == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=4, n_positions=64))
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
    )


def save(folder: Path, architecture: str, kind: str) -> PeftModel:
    """Save a soft prompt with random parameters, CPT's delta among them; return the model that saved it."""
    model = cast(PeftModel, get_peft_model(base_model(architecture), CONFIGS[kind]()))
    with torch.no_grad():
        for parameter in model.prompt_encoder.parameters():
            parameter.normal_()
    model.save_pretrained(str(folder))
    return model


def prompt_of(model: PeftModel, task_index: int | None) -> NDArray[np.float32]:
    """Return PEFT's own prompt in the layout of ResolvedPrefix."""
    task_ids = None if task_index is None else torch.tensor([task_index])
    with torch.no_grad():
        prompt: Any = model.get_prompt(batch_size=1, task_ids=task_ids)
    if isinstance(prompt, torch.Tensor):
        return prompt[0].numpy()
    layers = [tensor[0].transpose(0, 1) for layer in prompt.layers for tensor in (layer.keys, layer.values)]
    return torch.stack(layers, dim=1).numpy()


@pytest.mark.parametrize("architecture", BASES)
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_resolved_prefix_is_pefts_own_prompt(kind: str, architecture: str, tmp_path: Path) -> None:
    """Equal to what PEFT computes after training, and to what it computes after loading the files."""
    trained = save(tmp_path, architecture, kind)
    loaded = PeftModel.from_pretrained(base_model(architecture), str(tmp_path))
    base = BASES[architecture]
    config_bytes = (tmp_path / "adapter_config.json").read_bytes()
    tensors_bytes = (tmp_path / "adapter_model.safetensors").read_bytes()
    for task_index in range(NUM_TASKS) if kind == "multitask" else [None]:
        checkpoint = read_checkpoint(
            config_bytes,
            tensors_bytes,
            base,
            task_index=task_index,
            allow_base_mismatch=False,
            max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
        )
        prefix = checkpoint.prefix
        assert (prefix.kind is TensorKind.KEY_VALUES) == (kind in ("prefix", "prefix-projected", "cartridge"))
        np.testing.assert_allclose(prefix.values, prompt_of(trained, task_index), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(prefix.values, prompt_of(loaded, task_index), rtol=1e-6, atol=1e-6)
        assert write_tensors(checkpoint) == tensors_bytes


def test_every_prompt_type_of_ours_is_tried() -> None:
    assert {CONFIGS[kind]().peft_type.value for kind in CONFIGS} == set(PeftType)
