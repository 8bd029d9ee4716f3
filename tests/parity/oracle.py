"""PEFT as the oracle: a soft prompt of each type, untrained, saved by PEFT, and answered by PEFT's `generate`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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
from transformers import PreTrainedConfig, PreTrainedModel

NUM_VIRTUAL = {"prompt": 7, "p": 4, "multitask": 6, "cpt": 3, "prefix": 5, "cartridge": 9}
KINDS = tuple(NUM_VIRTUAL)
"""PEFT's prompt types, by the names that the tests have for them."""


# PEFT reads these numbers from configurations, but not under these architectures' names for them.
SIZES_GIVEN = frozenset({"dbrx", "distilbert", "mpt", "xglm"})


def given_sizes(config: PreTrainedConfig) -> dict[str, int]:
    """What PEFT wants to be told of an architecture."""
    if config.model_type not in SIZES_GIVEN:
        return {}
    return {
        "num_attention_heads": config.num_attention_heads,
        "num_layers": config.num_hidden_layers,
        "token_dim": config.hidden_size,
    }


def peft_config(kind: str, task_type: str, **sizes: int) -> Any:
    """A PEFT configuration whose number of virtual tokens is not a multiple of the tests' block size, but for one.

    `sizes` are the base model's, where PEFT does not find them itself.
    """
    common: dict[str, Any] = {"task_type": str(task_type), "num_virtual_tokens": NUM_VIRTUAL[kind], **sizes}
    match kind:
        case "prompt":
            return PromptTuningConfig(**common)
        case "p":
            return PromptEncoderConfig(**common, encoder_hidden_size=8)
        case "multitask":
            return MultitaskPromptTuningConfig(**common, num_tasks=2, num_ranks=2)
        case "cpt":
            tokens = {"cpt_token_ids": [1, 2, 3], "cpt_tokens_type_mask": [1, 2, 3]}
            return CPTConfig(**common, **tokens)
        case "prefix":
            return PrefixTuningConfig(**common)
        case _:
            return CartridgeConfig(**common, num_frozen_tokens=2)


def save_checkpoint(folder: Path, model: PreTrainedModel, kind: str, seed: int) -> None:
    """Let PEFT write a checkpoint with random parameters."""
    task_type = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    wrapped = get_peft_model(copy.deepcopy(model), peft_config(kind, task_type, **given_sizes(model.config)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.prompt_encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    save_files(wrapped, folder)


def save_files(wrapped: PeftModel, folder: Path) -> None:
    """PEFT's two files, without the model card for people, which takes longer than both."""
    wrapped.create_or_update_model_card = lambda *_: None
    wrapped.save_pretrained(str(folder))


@dataclass(frozen=True, slots=True, eq=False)
class OracleAnswer:
    """Greedy tokens, and the logits `[num_tokens, vocab_size]` that each was chosen from."""

    tokens: tuple[int, ...]
    logits: torch.Tensor


class PeftOracle:
    """One checkpoint on its own copy of the model."""

    def __init__(self, folder: Path, model: PreTrainedModel, task_index: int | None) -> None:
        self._model = PeftModel.from_pretrained(copy.deepcopy(model), str(folder)).eval()
        self._task_index = task_index

    def generate(self, prompt: Sequence[int], num_tokens: int) -> OracleAnswer:
        """PEFT's own greedy `generate`, unpadded, alone."""
        ids = torch.tensor([list(prompt)])
        extra = {} if self._task_index is None else {"task_ids": torch.tensor([self._task_index])}
        output = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            num_beams=1,
            max_new_tokens=num_tokens,
            return_dict_in_generate=True,
            output_logits=True,
            **extra,
        )
        num_given = 1 if self._model.config.is_encoder_decoder else len(prompt)
        return OracleAnswer(tuple(output.sequences[0, num_given:].tolist()), torch.cat(output.logits))
