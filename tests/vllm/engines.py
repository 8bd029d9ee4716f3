"""vLLM engines over tiny models, and requests to them through the package's own front end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tests.vllm.environment import ENVIRONMENT

os.environ.update(ENVIRONMENT, VLLM_ENABLE_V1_MULTIPROCESSING="0")

import torch
from vllm import LLM, RequestOutput, SamplingParams

from softprompt_vllm.requests import EngineInputs, capture_inputs, new_capture_key, transfer_config, use_inputs
from tests.vllm.worlds import NUM_NEW, Task, World

PLACEHOLDER = 0
Case = tuple[Task | None, list[int], list[int]]
"""A task (None: the base model alone), a text, and the tokens that PEFT answers."""


class Engine:
    """One engine in this process, but for the workers of several ranks."""

    def __init__(self, world: World, *, max_host_bytes: int = 1 << 30, **settings: Any) -> None:
        self.world = world
        self.key = new_capture_key()
        config = transfer_config(world.files, capture_key=self.key, max_host_bytes=max_host_bytes)
        given: dict[str, Any] = {
            "model": str(world.model),
            "dtype": "float32",
            "skip_tokenizer_init": True,
            "enforce_eager": True,
            "block_size": 32,
            "max_num_seqs": 16,
            "max_num_batched_tokens": 64,
            "max_model_len": 256,
            "seed": 0,
            "enable_prefix_caching": True,
            "enable_prompt_embeds": True,
            "disable_hybrid_kv_cache_manager": False,
            "kv_transfer_config": config,
        }
        self.llm = LLM(**(given | settings))
        torch.set_num_threads(1)

    @property
    def scheduler(self) -> Any:
        """vLLM's scheduler."""
        return self.llm.llm_engine.engine_core.engine_core.scheduler

    @property
    def half(self) -> Any:
        """The connector's half in the scheduler."""
        return self.scheduler.connector.scheduler

    @property
    def worker(self) -> Any:
        """The connector's half in the one worker, which is this process."""
        from vllm.distributed.kv_transfer import get_kv_transfer_group

        return get_kv_transfer_group().worker

    def cases(self) -> list[Case]:
        """Every task with every text, and every text alone."""
        world = self.world
        cases: list[Case] = [(None, text, answer) for text, answer in zip(world.texts, world.plain, strict=True)]
        return cases + [
            (task, text, answer) for task in world.tasks for text, answer in zip(world.texts, task.answers, strict=True)
        ]

    def run(self, requests: Sequence[EngineInputs]) -> list[RequestOutput]:
        """Answer all requests in one batch."""
        params = [SamplingParams(**request.sampling) for request in requests]
        return self.llm.generate([request.prompt for request in requests], params, use_tqdm=False)

    def capture(self, tasks: Sequence[Task]) -> list[RequestOutput]:
        """Capture the tasks that have rows."""
        return self.run([capture_inputs(self.key, task.digest, task.rows) for task in tasks if task.rows is not None])

    def num_exact(self, cases: Sequence[Case]) -> tuple[int, int]:
        """How many of the cases are answered as by PEFT, in one batch, and how many there are."""
        outputs = self.run([ask(task, text) for task, text, _ in cases])
        exact = [list(output.outputs[0].token_ids) == case[2] for output, case in zip(outputs, cases, strict=True)]
        return sum(exact), len(exact)


def ask(task: Task | None, text: list[int], **sampling: Any) -> EngineInputs:
    """A request for greedy tokens behind a task."""
    options = {"temperature": 0.0, "max_tokens": NUM_NEW, "ignore_eos": True, "detokenize": False} | sampling
    if task is None:
        return EngineInputs({"prompt_token_ids": text}, options)
    inputs = use_inputs(task.digest, task.num_virtual_tokens, text, placeholder_id=PLACEHOLDER)
    return EngineInputs(inputs.prompt, options | inputs.sampling)
