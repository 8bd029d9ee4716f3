"""Runs one sequence in its turn, behind its soft prompt."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from server.engine.errors import StepFailed
from server.engine.request import Kind, Request
from server.engine.vllm.admission import Admission, Lane
from server.engine.vllm.backend import Backend, Output
from server.engine.vllm.inputs import sequence_inputs
from server.engine.vllm.soft_prompts import SoftPrompts

_MAX_ATTEMPTS = 8
"""A soft prompt may be dropped between its capture and its use, by captures for others; each attempt makes it known."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """Token ids of one request, the arguments of vLLM's `SamplingParams`, and what describes the answer's form."""

    request: Request[Kind]
    arrival: int
    arrived_at: float
    prompt_token_ids: tuple[int, ...]
    sampling: Mapping[str, Any]
    form: Mapping[str, Any] | None = None

    @property
    def lane(self) -> Lane:
        """Whether it is of a batch."""
        return Lane.BATCH if self.request.is_batch else Lane.LIVE


class Sequences:
    """Runs sequences, and counts their tokens. `num_cached_tokens` of an output leave out the virtual ones."""

    def __init__(self, backend: Backend, admission: Admission, soft_prompts: SoftPrompts) -> None:
        self._backend = backend
        self._ids = itertools.count()
        self.admission = admission
        self.soft_prompts = soft_prompts
        self.num_prompt_tokens = 0
        self.num_cached_tokens = 0
        self.num_generated_tokens = 0

    async def run(self, sequence: Sequence) -> AsyncGenerator[Output, None]:
        """The outputs of a sequence; the first has tokens, the last a finish reason.

        Raises `EngineError`. The sequence is aborted where the caller closes the iterator or is cancelled.
        """
        request = sequence.request
        age = (request.priority, sequence.arrival)
        async with self.admission.turn(sequence.lane, request.task, age, sequence.arrived_at, request.prefix):
            for _ in range(_MAX_ATTEMPTS if request.prefix is not None else 1):
                is_refused = False
                async with aclosing(self._attempt(sequence)) as outputs:
                    async for output in outputs:
                        is_refused = output.finish_reason == "error"
                        if not is_refused:
                            yield output
                if not is_refused:
                    return
                if request.prefix is not None:
                    self.soft_prompts.forget(request.prefix.digest)
        raise StepFailed("vLLM refused a sequence; its log says why")

    async def _attempt(self, sequence: Sequence) -> AsyncGenerator[Output, None]:
        """The outputs of one attempt. A refusal after the first token cannot be tried again. Raises `StepFailed`."""
        request, prefix = sequence.request, sequence.request.prefix
        if prefix is not None:
            await self.soft_prompts.ready(prefix, request.task)
        inputs = sequence_inputs(sequence.prompt_token_ids, prefix, request.salt, sequence.sampling, sequence.form)
        request_id = f"{request.request_id}-{next(self._ids)}"
        num_virtual = 0 if prefix is None else prefix.num_virtual_tokens
        has_begun = False
        async with aclosing(self._backend.generate(request_id, inputs)) as outputs:
            async for output in outputs:
                if output.finish_reason in ("error", "abort") and (has_begun or output.finish_reason == "abort"):
                    raise StepFailed("vLLM ended a sequence on its own; its log says why")
                if output.token_ids and not has_begun:
                    has_begun = True
                    num_cached = max(0, output.num_cached_tokens - num_virtual)
                    self._count_prompt(sequence, num_cached)
                    output = Output(
                        output.token_ids, output.logprobs, output.prompt_logprobs, num_cached, output.finish_reason
                    )
                self.num_generated_tokens += len(output.token_ids)
                self.admission.charge(sequence.lane, request.task, len(output.token_ids))
                yield output
        if prefix is not None:
            self.soft_prompts.note_use(prefix, request.task)

    def _count_prompt(self, sequence: Sequence, num_cached: int) -> None:
        num_computed = max(0, len(sequence.prompt_token_ids) - num_cached)
        self.num_prompt_tokens += num_computed
        self.num_cached_tokens += num_cached
        self.admission.charge(sequence.lane, sequence.request.task, num_computed)
