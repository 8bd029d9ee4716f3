"""What every contender is asked: requests over several tasks, made from a seed, as plain numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_PROMPT = 16
MAX_PROMPT = 64


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """One greedy request. `task` None asks the base model without a soft prompt.

    `start_s` is when it is sent, in seconds since the run began; contenders that do not stream ignore it.
    """

    task: int | None
    prompt: tuple[int, ...]
    num_output: int
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests, and how they arrive: all at once, or from so many clients that each wait for their answer."""

    requests: tuple[BenchRequest, ...]
    num_virtual_tokens: int
    num_clients: int | None = None

    @property
    def num_output_tokens(self) -> int:
        """Tokens that the answers have together: nothing ends early."""
        return sum(request.num_output for request in self.requests)


def make_workload(
    vocab_size: int,
    *,
    seed: int,
    num_requests: int = 64,
    num_tasks: int = 8,
    num_virtual_tokens: int = 16,
    prompt_lengths: tuple[int, int] = (MIN_PROMPT, MAX_PROMPT),
    num_output: int = 48,
    num_clients: int | None = None,
) -> Workload:
    """The workload of the comparison, or a variation of it. Another seed has other prompts: no cache helps.

    Tasks take turns. `num_tasks` or `num_virtual_tokens` 0 ask the base model itself.
    """
    choice = random.Random(seed)
    requests = []
    for number in range(num_requests):
        prompt = tuple(choice.randrange(3, vocab_size) for _ in range(choice.randint(*prompt_lengths)))
        has_task = num_tasks > 0 and num_virtual_tokens > 0
        requests.append(BenchRequest(number % num_tasks if has_task else None, prompt, num_output))
    return Workload(tuple(requests), num_virtual_tokens, num_clients)


def soft_prompt(task: int, num_virtual_tokens: int, hidden_size: int, std: float) -> np.ndarray:
    """The soft prompt of a task, `[num_virtual_tokens, hidden_size]` float32: as large as the model's embeddings."""
    generator = np.random.default_rng([task, num_virtual_tokens])
    return generator.standard_normal((num_virtual_tokens, hidden_size), dtype=np.float32) * np.float32(std)


def tasks_of(requests: Sequence[BenchRequest]) -> list[int]:
    """The tasks that requests name, in order of their numbers."""
    return sorted({request.task for request in requests if request.task is not None})
