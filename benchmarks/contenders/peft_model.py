"""A PEFT model with one prompt-tuning adapter a task."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks.contender import Setup
from benchmarks.workload import soft_prompt


class PeftTasks:
    """The base model, wrapped by PEFT; adapters are made as workloads name their tasks."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        warnings.filterwarnings("ignore", message="Position ids are not supported")  # PEFT drops what it then rebuilds
        self._model_spec = setup.model
        self._device = torch.device(setup.device)
        base: Any = AutoModelForCausalLM.from_pretrained(setup.model.folder, dtype=setup.dtype)
        self._base = base.eval().to(self._device)
        self._wrapped: Any = None
        self._known: set[str] = set()

    def select(self, task: int | None, num_virtual_tokens: int) -> Any:
        """The model to generate with: the base model, or the wrapped one with this task's adapter active."""
        if task is None:
            return self._base
        name = f"task-{task}-{num_virtual_tokens}"
        if name not in self._known:
            self._add(name, task, num_virtual_tokens)
        self._wrapped.set_adapter(name)
        return self._wrapped

    @torch.inference_mode()
    def generate(self, model: Any, prompts: Sequence[Sequence[int]], num_output: int) -> list[tuple[int, ...]]:
        """Greedy tokens; prompts of unequal length are padded on the left."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        output = model.generate(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            do_sample=False,
            max_new_tokens=num_output,
            eos_token_id=None,
            pad_token_id=0,
        )
        return [tuple(row[longest:].tolist()) for row in output]

    def _add(self, name: str, task: int, num_virtual_tokens: int) -> None:
        config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=num_virtual_tokens, inference_mode=True)
        if self._wrapped is None:
            self._wrapped = get_peft_model(self._base, config, adapter_name=name).eval()
        else:
            self._wrapped.add_adapter(name, config)
        spec = self._model_spec
        rows = soft_prompt(task, num_virtual_tokens, spec.hidden_size, spec.embedding_std)
        with torch.no_grad():
            self._wrapped.prompt_encoder[name].embedding.weight.copy_(torch.from_numpy(rows))
        self._known.add(name)
