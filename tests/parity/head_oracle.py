"""PEFT as the oracle of heads: checkpoints of each task type that PEFT saves, and PEFT's own answer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from prompts_store.checkpoint_records import TaskType
from tests.parity.oracle import given_sizes, peft_config, save_files

CLASSES: dict[TaskType, Any] = {
    TaskType.SEQ_CLS: AutoModelForSequenceClassification,
    TaskType.TOKEN_CLS: AutoModelForTokenClassification,
    TaskType.QUESTION_ANS: AutoModelForQuestionAnswering,
    TaskType.FEATURE_EXTRACTION: AutoModel,
}
NUM_LABELS = 3
_WITHOUT_TASK_INDEX = (TaskType.QUESTION_ANS, TaskType.FEATURE_EXTRACTION)


def runs(kind: str, task_type: TaskType) -> bool:
    """Whether PEFT runs a prompt type with a task type at all."""
    return kind != "cpt" and not (kind == "multitask" and task_type in _WITHOUT_TASK_INDEX)


def task_index_of(kind: str) -> int | None:
    """The task of a checkpoint that is asked."""
    return 1 if kind == "multitask" else None


def load_class(base: Path, task_type: TaskType, seed: int) -> Any:
    """Return transformers' class over the base model, with a head at random."""
    return copy.deepcopy(_loaded_class(base, task_type, seed))


@lru_cache(maxsize=8)
def _loaded_class(base: Path, task_type: TaskType, seed: int) -> Any:
    torch.manual_seed(seed)
    num_labels = {TaskType.SEQ_CLS: NUM_LABELS, TaskType.TOKEN_CLS: NUM_LABELS, TaskType.QUESTION_ANS: 2}
    sizes = {"num_labels": num_labels[task_type]} if task_type in num_labels else {}
    return CLASSES[task_type].from_pretrained(str(base), **sizes).eval()


def save_checkpoint(folder: Path, base: Path, kind: str, task_type: TaskType, seed: int, **sizes: int) -> None:
    """Let PEFT write a checkpoint with a prompt and a head at random."""
    model = load_class(base, task_type, seed=0)
    config = peft_config(kind, task_type, **(given_sizes(model.config) | sizes))
    wrapped = cast(PeftModel, get_peft_model(model, config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad:
                scale = 1.0 if "prompt_encoder" in name else _scale(parameter)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5 * scale)
    save_files(wrapped, folder)


def _scale(parameter: torch.Tensor) -> float:
    """Keeps logits over wide hidden states as small as over narrow ones, so that rounding stays below 1e-4."""
    width = parameter.shape[-1]
    return float((32 / width) ** 0.5) if parameter.dim() > 1 and width >= 256 else 1.0


class HeadOracle:
    """One checkpoint on its own copy of the base model. `task_index` is one of a multitask checkpoint's."""

    def __init__(self, folder: Path, base: Path, task_type: TaskType, task_index: int | None = None) -> None:
        self._model = PeftModel.from_pretrained(load_class(base, task_type, seed=99), str(folder)).eval()
        self._task_type = task_type
        self._task_index = task_index

    def values(self, prompt: Sequence[int], **inputs: Sequence[int]) -> torch.Tensor:
        """PEFT's own answer, unpadded, alone: of all rows, or of the text's where each row has one."""
        tensors = {name: torch.tensor([list(numbers)]) for name, numbers in {"input_ids": prompt, **inputs}.items()}
        if self._task_index is not None:
            tensors["task_ids"] = torch.tensor([self._task_index])
        with torch.no_grad():
            output = self._model(**tensors)
        match self._task_type:
            case TaskType.SEQ_CLS:
                return cast(torch.Tensor, output.logits)
            case TaskType.TOKEN_CLS:
                return cast(torch.Tensor, output.logits[0, -len(prompt) :])
            case TaskType.QUESTION_ANS:
                both = torch.stack([output.start_logits[0], output.end_logits[0]], dim=-1)
                return both[-len(prompt) :]
            case _:
                return cast(torch.Tensor, output.last_hidden_state[0])
