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
from transformers import PreTrainedModel

NUM_VIRTUAL = {"prompt": 7, "p": 4, "multitask": 6, "cpt": 3, "prefix": 5, "cartridge": 9}


def peft_config(kind: str) -> Any:
    """A PEFT configuration whose number of virtual tokens is not a multiple of the tests' block size, but for one."""
    common: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": NUM_VIRTUAL[kind]}
    match kind:
        case "prompt":
            return PromptTuningConfig(**common)
        case "p":
            return PromptEncoderConfig(**common, encoder_hidden_size=8)
        case "multitask":
            return MultitaskPromptTuningConfig(**common, num_tasks=2, num_ranks=2)
        case "cpt":
            return CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[1, 2, 3], cpt_tokens_type_mask=[1, 2, 3])
        case "prefix":
            return PrefixTuningConfig(**common)
        case _:
            return CartridgeConfig(**common, num_frozen_tokens=2)


def save_checkpoint(folder: Path, model: PreTrainedModel, kind: str, seed: int) -> None:
    """Let PEFT write a checkpoint with random parameters."""
    wrapped = get_peft_model(copy.deepcopy(model), peft_config(kind))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.prompt_encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
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
            max_new_tokens=num_tokens,
            return_dict_in_generate=True,
            output_logits=True,
            **extra,
        )
        return OracleAnswer(tuple(output.sequences[0, len(prompt) :].tolist()), torch.cat(output.logits))
