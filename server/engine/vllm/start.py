"""vLLM itself: `AsyncLLM` on an event loop and a thread of its own. No other file of this process imports it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import torch
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.loggers import StatLoggerBase

from server.engine.errors import EngineStopped, RequestRefused, StepFailed
from server.engine.vllm.backend import BackendFacts, BackendStats, Output, Ranked
from server.engine.vllm.engine_args import check_names
from server.model.errors import EngineUnavailable
from softprompt_vllm.requests import EngineInputs

try:
    from vllm.exceptions import VLLMClientError
except ImportError:  # older releases raise ValueError for a request that they do not take
    VLLMClientError = ValueError

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Put = Callable[[Output | BaseException | None], None]


class VllmBackend:
    """Implements `Backend`. Raises `EngineUnavailable` where vLLM does not start."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        check_names(args, frozenset(field.name for field in dataclasses.fields(AsyncEngineArgs)))
        self._counts = _Counts()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self._llm, self.facts = self._call(self._open(args)).result()
        except BaseException as error:
            self._end_loop()
            if not isinstance(error, Exception):
                raise
            raise EngineUnavailable(f"vLLM does not start: {_reason(error)}") from error

    async def _open(self, args: Mapping[str, Any]) -> tuple[AsyncLLM, BackendFacts]:
        llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**args), stat_loggers=[self._counts.logger])
        try:
            (layout, *_) = await llm.collective_rpc("softprompt_layout")
        except BaseException:
            llm.shutdown()
            raise
        model = llm.model_config
        facts = BackendFacts(
            max_context=model.max_model_len,
            vocab_size=model.get_vocab_size(),
            hidden_size=model.get_inputs_embeds_size(),
            dtype=model.dtype,
            num_blocks=layout["num_blocks"],
            block_groups=tuple((size, num_bytes) for size, num_bytes in layout["groups"]),
            num_layers=layout["num_layers"],
            num_kv_heads=layout["num_kv_heads"],
            head_dim=layout["head_dim"],
        )
        return llm, facts

    @property
    def stats(self) -> BackendStats:
        """See `Backend`."""
        return self._counts.stats

    @property
    def is_alive(self) -> bool:
        """See `Backend`."""
        return not self._llm.errored

    async def generate(self, request_id: str, inputs: EngineInputs) -> AsyncGenerator[Output, None]:
        """See `Backend`."""
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[Output | BaseException | None] = asyncio.Queue()

        def put(item: Output | BaseException | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(found.put_nowait, item)

        consuming = self._call(self._consume(request_id, inputs, put))
        try:
            while (item := await found.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            consuming.cancel()  # no effect after its end; vLLM aborts a request whose reader is cancelled

    async def _consume(self, request_id: str, inputs: EngineInputs, put: _Put) -> None:
        """On vLLM's loop: hand on each output of a request, then its failure or None."""
        try:
            params = SamplingParams(**inputs.sampling, output_kind=RequestOutputKind.DELTA)
            async for output in self._llm.generate(_rendered(inputs.prompt), params, request_id):
                put(_output(output))
        except EngineDeadError:
            put(EngineStopped("the engine of vLLM has died"))
        except VLLMClientError as error:
            logger.warning("vLLM does not take a request: %s", error)
            put(RequestRefused("vLLM does not take the request; the server's log says why"))
        except Exception as error:
            failure = StepFailed("a request failed in vLLM")
            failure.__cause__ = error
            put(failure)
        else:
            put(None)

    async def embed(self, token_ids: Sequence[int]) -> torch.Tensor:
        """See `Backend`."""
        calling = self._call(self._llm.collective_rpc("softprompt_embed", args=(list(token_ids),)))
        (rows, *_) = await asyncio.wrap_future(calling)
        return torch.tensor(rows, dtype=torch.float32).to(self.facts.dtype)

    def close(self) -> None:
        """See `Backend`."""

        async def shut_down() -> None:
            self._llm.shutdown()

        if self._thread.is_alive():
            self._call(shut_down()).result()
            self._end_loop()

    def _call(self, work: Coroutine[Any, Any, T]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class _Counts:
    """The counts of vLLM's scheduler, added up from what it tells its loggers."""

    def __init__(self) -> None:
        self.stats = BackendStats()
        counts = self

        class Logger(StatLoggerBase):  # type: ignore[misc]  # vLLM lives in a venv of its own
            """What vLLM makes once per engine."""

            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                pass

            def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
                counts.record(scheduler_stats, iteration_stats)

            def log_engine_initialized(self) -> None:
                pass

        self.logger = Logger

    def record(self, scheduler: Any, iteration: Any) -> None:
        """Add one step."""
        before = self.stats
        num_tokens = 0 if iteration is None else iteration.num_generation_tokens + iteration.num_prompt_tokens
        num_preempted = 0 if iteration is None else iteration.num_preempted_reqs
        self.stats = BackendStats(
            num_steps=before.num_steps + 1,
            num_step_tokens=before.num_step_tokens + num_tokens,
            num_preemptions=before.num_preemptions + num_preempted,
            num_last_sequences=before.num_last_sequences if scheduler is None else scheduler.num_running_reqs,
            num_last_tokens=num_tokens,
            kv_usage=before.kv_usage if scheduler is None else scheduler.kv_cache_usage,
        )


def _rendered(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt as vLLM's own renderer would make it: ours has nothing left to tokenize."""
    return {"type": "embeds" if "prompt_embeds" in prompt else "token", **prompt}


def _output(output: Any) -> Output:
    """vLLM's `RequestOutput` of a request with one choice."""
    (choice,) = output.outputs
    return Output(
        tuple(choice.token_ids),
        tuple(_ranked(one) for one in choice.logprobs or ()),
        tuple(None if one is None else _ranked(one) for one in output.prompt_logprobs or ()),
        output.num_cached_tokens or 0,
        choice.finish_reason,
    )


def _ranked(found: Mapping[int, Any]) -> dict[int, Ranked]:
    return {token: (one.logprob, one.rank) for token, one in found.items()}


def _reason(error: Exception) -> str:
    """The first line of an error, for the operator."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
