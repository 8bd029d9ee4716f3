"""`adapter_config.json` with exactly the keys that releases of PEFT write, for each kind of base and prompt type.

The keys are those of the configuration classes in the wheels of PEFT 0.3.0, 0.5.0, 0.6.2, 0.8.2, 0.14.0, 0.17.1 and
0.21.2. Releases wrote every attribute of a configuration, so that 0.3 left P-tuning's `encoder_hidden_size` in all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    T5Config,
)

from prompts_store.checkpoint.head import head_values
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseKind, BaseModel, Checkpoint, PeftType
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.model.heads.heads import Heads
from server.model.heads.held import HeldParameters
from tests.model.heads.test_classes import DECODERS, ENCODERS
from tests.prompts_store.test_peft_files import prompt_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # PEFT's word for keys that it does not know.
    pytest.mark.filterwarnings("ignore:Unexpected keyword arguments:UserWarning"),
]

NUM_TOKENS, WIDTH, KEY_VALUES, NUM_LABELS = 3, 16, 2 * 2 * 16, 3
T5 = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
MODELS: Mapping[str, PreTrainedConfig] = {**DECODERS, **ENCODERS, "t5": T5}
CLASSES: Mapping[str, Any] = {
    "CAUSAL_LM": AutoModelForCausalLM,
    "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM,
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
}
SINCE: Mapping[str, Mapping[str, Any]] = {
    "0.3": {
        "base_model_name_or_path": "some/model",
        "inference_mode": True,
        "num_attention_heads": 2,
        "num_layers": 2,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": NUM_TOKENS,
        "token_dim": WIDTH,
    },
    "0.5": {"auto_mapping": None, "revision": None},
    "0.17": {"modules_to_save": None},
    "0.21": {"peft_version": "0.21.2"},
}
TEXTS = {"prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None, "tokenizer_name_or_path": None}
TASKS = {"num_ranks": 1, "num_tasks": 1, "prompt_tuning_init_state_dict_path": None, "prompt_tuning_init_task": 0}
OWN: Mapping[PeftType, Mapping[str, Any]] = {
    PeftType.PROMPT_TUNING: TEXTS,
    PeftType.P_TUNING: {
        "encoder_dropout": 0.0,
        "encoder_hidden_size": 128,
        "encoder_num_layers": 2,
        "encoder_reparameterization_type": "MLP",
    },
    PeftType.PREFIX_TUNING: {"encoder_hidden_size": WIDTH, "prefix_projection": False},
    PeftType.MULTITASK_PROMPT_TUNING: {**TEXTS, **TASKS},
    PeftType.CPT: {
        "cpt_mask": [1] * NUM_TOKENS,
        "cpt_token_ids": [4, 5, 6],
        "cpt_tokens_type_mask": [1, 2, 3],
        "opt_loss_decay_factor": 1.0,
        "opt_projection_epsilon": 0.1,
        "opt_projection_format_epsilon": 0.1,
        "opt_weighted_loss_type": "none",
        "tokenizer_name_or_path": None,
    },
    PeftType.CARTRIDGE: {"num_frozen_tokens": 1},
}
KEY_VALUE_TYPES = {PeftType.PREFIX_TUNING, PeftType.CARTRIDGE}
HEAD_SHAPES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "bert": {"classifier.weight": (NUM_LABELS, WIDTH), "classifier.bias": (NUM_LABELS,)},
    "roberta": {
        "classifier.dense.weight": (WIDTH, WIDTH),
        "classifier.dense.bias": (WIDTH,),
        "classifier.out_proj.weight": (NUM_LABELS, WIDTH),
        "classifier.out_proj.bias": (NUM_LABELS,),
    },
    "gpt2": {"score.weight": (NUM_LABELS, WIDTH)},
}


@dataclass(frozen=True)
class File:
    """A checkpoint that a release saved."""

    release: str
    model: str
    task_type: str
    peft_type: PeftType
    others: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.release}-{self.model}-{self.task_type}-{self.peft_type}"

    @property
    def config(self) -> dict[str, Any]:
        """The keys of the release, in the form of its enumerations."""
        number = float(self.release.replace("0.", "", 1))
        known = [keys for since, keys in SINCE.items() if float(since.replace("0.", "", 1)) <= number]
        merged: dict[str, Any] = {key: value for keys in known for key, value in keys.items()}
        merged |= OWN[self.peft_type]
        if self.is_for_two:
            merged["num_transformer_submodules"] = 2
        if self.release == "0.3":
            merged.setdefault("encoder_hidden_size", WIDTH)
        if "modules_to_save" in merged and self.has_head:
            merged["modules_to_save"] = ["classifier", "score"] * 2
        return {**merged, "task_type": self.task_type, "peft_type": self.peft_type, **self.others}

    @property
    def has_head(self) -> bool:
        return self.task_type in ("SEQ_CLS", "TOKEN_CLS")

    @property
    def is_for_two(self) -> bool:
        return self.task_type == "SEQ_2_SEQ_LM"

    def tensors(self) -> dict[str, torch.Tensor]:
        """Random values in the shapes that PEFT saves."""
        is_key_values = self.peft_type in KEY_VALUE_TYPES
        num_rows = NUM_TOKENS * (2 if self.is_for_two and not is_key_values else 1)
        shapes: dict[str, tuple[int, ...]] = {"prompt_embeddings": (num_rows, KEY_VALUES if is_key_values else WIDTH)}
        if self.peft_type is PeftType.MULTITASK_PROMPT_TUNING:
            shapes |= {"prefix_task_cols": (1, num_rows, 1), "prefix_task_rows": (1, 1, WIDTH)}
        if self.has_head:
            shapes |= {f"base_model.{name}": shape for name, shape in HEAD_SHAPES[self.model].items()}
        generator = torch.manual_seed(0)
        return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    def build(self) -> Any:
        """The base model in the class of the task type."""
        torch.manual_seed(0)
        config = MODELS[self.model]
        config.num_labels = NUM_LABELS
        return CLASSES[self.task_type].from_config(config)


PROMPT, P, PREFIX, MULTITASK = (
    PeftType.PROMPT_TUNING,
    PeftType.P_TUNING,
    PeftType.PREFIX_TUNING,
    PeftType.MULTITASK_PROMPT_TUNING,
)
FILES = [
    *(File(release, "llama", "CAUSAL_LM", kind) for release in ("0.3", "0.5", "0.21") for kind in (PROMPT, P, PREFIX)),
    File("0.8", "llama", "CAUSAL_LM", PROMPT, {"tokenizer_kwargs": None}),
    File("0.6", "llama", "CAUSAL_LM", MULTITASK),
    File("0.14", "llama", "CAUSAL_LM", PeftType.CPT),
    File("0.21", "llama", "CAUSAL_LM", PREFIX, {"init_weights": None}),
    File("0.21", "llama", "CAUSAL_LM", PeftType.CARTRIDGE),
    *(File(release, "t5", "SEQ_2_SEQ_LM", kind) for release in ("0.3", "0.5", "0.21") for kind in (PROMPT, P, PREFIX)),
    File("0.6", "t5", "SEQ_2_SEQ_LM", MULTITASK),
    *(File(release, "bert", "SEQ_CLS", kind) for release in ("0.3", "0.21") for kind in (PROMPT, P, PREFIX)),
    *(File(release, "roberta", "SEQ_CLS", P) for release in ("0.3", "0.5", "0.17")),
    File("0.3", "bert", "TOKEN_CLS", PREFIX),
    File("0.6", "gpt2", "SEQ_CLS", PROMPT),
]


def pefts_prompt(loaded: PeftModel, file: File) -> np.ndarray[Any, Any]:
    """What PEFT serves of its own prompt, in the layout of ours."""
    task_index = 0 if file.peft_type is MULTITASK else None
    if not file.is_for_two:
        return prompt_of(loaded, task_index)
    if file.peft_type is not PREFIX:
        return prompt_of(loaded, task_index)[:NUM_TOKENS]
    with torch.no_grad():
        prompt: Any = loaded.get_prompt(batch_size=1)
    layers = prompt.self_attention_cache.layers
    pairs = [tensor[0].transpose(0, 1) for layer in layers for tensor in (layer.keys, layer.values)]
    return torch.stack(pairs, dim=1).numpy()


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_released_file_is_read_as_peft_reads_it(file: File, tmp_path: Path) -> None:
    """The prompt and the head are those that PEFT itself takes from the same two files."""
    data, tensors = json.dumps(file.config, indent=2, sort_keys=True).encode(), file.tensors()
    (tmp_path / "adapter_config.json").write_bytes(data)
    save_file(tensors, tmp_path / "adapter_model.safetensors", {"format": "pt"})
    model = file.build()
    model.save_pretrained(str(tmp_path / "base"))
    kind = BaseKind.ENCODER_DECODER if file.is_for_two else BaseKind.DECODER
    kind = BaseKind.ENCODER if file.model in ENCODERS else kind
    heads = Heads(MODELS[file.model], kind, HeldParameters([tmp_path / "base" / "model.safetensors"]))
    checkpoint = read_checkpoint(
        data,
        (tmp_path / "adapter_model.safetensors").read_bytes(),
        BaseModel("f", ("some/model",), WIDTH, 2, 2, 8, 64, "float32", 2, kind, heads),
        task_index=0 if file.peft_type is MULTITASK else None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
    loaded: Any = PeftModel.from_pretrained(model, str(tmp_path))
    np.testing.assert_allclose(checkpoint.prefix.values, pefts_prompt(loaded, file), rtol=1e-6, atol=1e-6)
    head = head_values(
        Checkpoint(checkpoint.peft_type, checkpoint.num_virtual_tokens, checkpoint.config, checkpoint.tensors)
    )
    assert head.keys() == (HEAD_SHAPES[file.model].keys() if file.has_head else set())
    theirs = {name.replace("modules_to_save.default.", ""): value for name, value in loaded.named_parameters()}
    for name, values in head.items():
        np.testing.assert_array_equal(values, theirs[f"base_model.{name}"].detach().numpy())


def test_every_prompt_type_and_kind_of_base_is_tried() -> None:
    """Thirty files or more."""
    assert len(FILES) >= 30
    assert {file.peft_type for file in FILES} == set(PeftType)
