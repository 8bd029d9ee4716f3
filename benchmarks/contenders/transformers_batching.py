"""(c) transformers' own continuous batching, made to carry soft prompts.

It takes token ids only. Ids above the vocabulary stand for the rows of the soft prompts, and a wrapper around the
model's embedding looks them up; a prompt is its task's ids and then its text. Each request computes its soft prompt
again, unless block sharing finds it in a full page.

Settings: `page_size` (tokens), `max_batch_tokens`, `num_cached_tokens`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from benchmarks.contender import Answer, Run, Setup
from benchmarks.workload import BenchRequest, Workload, soft_prompt, tasks_of

_generation_config: Callable[..., GenerationConfig] = GenerationConfig


class _WithVirtualRows(torch.nn.Module):
    """An embedding whose ids go on above the vocabulary."""

    def __init__(self, text: torch.nn.Embedding) -> None:
        super().__init__()
        self.text = text
        self.virtual = torch.empty(0, text.embedding_dim)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        num_text = self.text.num_embeddings
        rows: torch.Tensor = self.text(ids.clamp(max=num_text - 1))
        if not len(self.virtual):
            return rows
        virtual = self.virtual[(ids - num_text).clamp(min=0)]  # looked up for every id: a GPU need not be waited for
        return torch.where((ids >= num_text)[..., None], virtual, rows)


class TransformersBatchingContender:
    """A manager a run, as `generate_batch` makes one."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        self._setup = setup
        model: Any = AutoModelForCausalLM.from_pretrained(
            setup.model.folder, dtype=setup.dtype, attn_implementation="sdpa"
        )
        self._model = model.eval().to(setup.device)
        self._embedding = _WithVirtualRows(self._model.get_input_embeddings())
        self._model.set_input_embeddings(self._embedding)

    def run(self, workload: Workload) -> Run:
        """See `Contender`. The time begins once the manager stands."""
        first_ids = self._place_rows(workload)
        num_virtual = workload.num_virtual_tokens
        settings = self._setup.settings
        page_size = int(settings.get("page_size", 64))
        manager = self._model.init_continuous_batching(
            _generation_config(
                max_new_tokens=max(request.num_output for request in workload.requests),
                do_sample=False,
                eos_token_id=-1,
                pad_token_id=0,
            ),
            ContinuousBatchingConfig(
                page_size=page_size,
                num_blocks=int(settings.get("num_cached_tokens", 16_384)) // page_size,
                max_batch_tokens=int(settings.get("max_batch_tokens", 512)),
                max_requests_per_batch=self._setup.max_num_seqs,
            ),
        )
        manager.start()
        try:
            prompts = [self._ids(request, first_ids, num_virtual) for request in workload.requests]
            return _collect(manager, workload, prompts)
        finally:
            manager.stop(block=True)
            manager.destroy()

    def close(self) -> None:
        """See `Contender`."""

    def _place_rows(self, workload: Workload) -> dict[int, int]:
        """Make the workload's soft prompts known; returns the first id of each task."""
        spec, num_virtual = self._setup.model, workload.num_virtual_tokens
        tasks = tasks_of(workload.requests)
        rows = [soft_prompt(task, num_virtual, spec.hidden_size, spec.embedding_std) for task in tasks]
        if rows:
            weight = self._embedding.text.weight
            self._embedding.virtual = torch.cat([torch.from_numpy(matrix) for matrix in rows]).to(weight)
        return {task: spec.vocab_size + place * num_virtual for place, task in enumerate(tasks)}

    @staticmethod
    def _ids(request: BenchRequest, first_ids: dict[int, int], num_virtual: int) -> list[int]:
        if request.task is None:
            return list(request.prompt)
        first = first_ids[request.task]
        return [*range(first, first + num_virtual), *request.prompt]


def _collect(manager: Any, workload: Workload, prompts: list[list[int]]) -> Run:
    began = time.perf_counter()
    ids = [
        manager.add_request(prompt, request_id=f"r{number}", max_new_tokens=request.num_output)
        for number, (prompt, request) in enumerate(zip(prompts, workload.requests, strict=True))
    ]
    answers: dict[str, Answer] = {}
    while len(answers) < len(ids):
        result = manager.get_result(timeout=1)
        if result is None:
            if not manager.is_running():
                raise RuntimeError("transformers' continuous batching has stopped")
            continue
        if result.error is not None:
            raise RuntimeError(f"transformers' continuous batching failed: {result.error}")
        if result.is_finished():
            now = time.perf_counter() - began
            answers[result.request_id] = Answer(tuple(result.generated_tokens), 0.0, now)
    return Run(time.perf_counter() - began, tuple(answers[each] for each in ids))
