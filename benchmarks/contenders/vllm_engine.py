"""(d) vLLM on a CPU (`make bench-peers`): soft prompts as `prompt_embeds`, or plain tokens as its own best case.

Runs in vLLM's own venv. Settings: `embeds` (else the text alone is asked, without a soft prompt), `prefix_caching`.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from benchmarks.contender import Answer, Run, Setup
from benchmarks.workload import BenchRequest, Workload, soft_prompt, tasks_of

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


class VllmContender:
    """vLLM's offline engine in this process, compiled as it comes."""

    def __init__(self, setup: Setup) -> None:
        os.environ.update(_ENVIRONMENT)
        from vllm import LLM

        torch.set_num_threads(setup.threads)
        self._setup = setup
        self._embeds = bool(setup.settings.get("embeds", True))
        self._llm = LLM(
            model=setup.model.folder,
            dtype="float32",
            skip_tokenizer_init=True,
            enable_prompt_embeds=True,
            enable_prefix_caching=bool(setup.settings.get("prefix_caching", True)),
            max_num_seqs=setup.max_num_seqs,
            max_num_batched_tokens=512,
            max_model_len=512,
            seed=0,
        )
        torch.set_num_threads(setup.threads)
        self._embedding = self._load_embedding()

    def run(self, workload: Workload) -> Run:
        """See `Contender`. Looking up and joining the embeddings is part of the run."""
        from vllm import SamplingParams

        rows = self._rows(workload)
        began = time.perf_counter()
        prompts = [self._prompt(request, rows) for request in workload.requests]
        sampling = [
            SamplingParams(temperature=0.0, max_tokens=request.num_output, ignore_eos=True, detokenize=False)
            for request in workload.requests
        ]
        outputs = self._llm.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - began
        return Run(seconds, tuple(Answer(tuple(each.outputs[0].token_ids), 0.0, seconds) for each in outputs))

    def close(self) -> None:
        """See `Contender`."""

    def _rows(self, workload: Workload) -> dict[int, torch.Tensor]:
        spec, num_virtual = self._setup.model, workload.num_virtual_tokens
        return {
            task: torch.from_numpy(soft_prompt(task, num_virtual, spec.hidden_size, spec.embedding_std))
            for task in tasks_of(workload.requests)
        }

    def _prompt(self, request: BenchRequest, rows: dict[int, torch.Tensor]) -> Any:
        if not self._embeds:
            return {"prompt_token_ids": list(request.prompt)}
        text = self._embedding[torch.tensor(request.prompt)]
        virtual = [] if request.task is None else [rows[request.task]]
        return {"prompt_embeds": torch.cat([*virtual, text])}

    def _load_embedding(self) -> torch.Tensor:
        from safetensors.torch import load_file

        weights = load_file(f"{self._setup.model.folder}/model.safetensors")
        return weights["model.embed_tokens.weight"].float()
