"""Makes soft prompts known to the connector before a sequence uses them, on first use or ahead of it.

Embeddings are captured: vLLM computes their keys and values once, and the connector keeps them. Keys and values are
written as files into a folder of this engine alone. The connector drops what was unused for longest: then the sequence
that names it is refused, and it is made known again. A retired version is named by nobody, so it goes first.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import torch

from server.engine.errors import NumbersOverflow, StepFailed
from server.engine.vllm.backend import Backend
from server.model.prefix import Prefix, PrefixKind
from softprompt_vllm.prefix_file import path_of, write_key_values
from softprompt_vllm.requests import EngineInputs, capture_inputs


@dataclass(slots=True)
class Known:
    """A soft prompt that the connector knows. `task` used it last, at `used_at` (monotonic, in seconds)."""

    num_virtual_tokens: int
    num_bytes: int
    is_file: bool
    task: str
    used_at: float


class SoftPrompts:
    """The soft prompts that the connector knows, as far as this side can tell. Belongs to one event loop.

    `folder` is read by the workers. They keep at most `max_bytes` each. `leases` are running sequences by digest.
    """

    def __init__(
        self,
        backend: Backend,
        capture_key: str,
        folder: Path,
        max_bytes: int,
        leases: Counter[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._capture_key = capture_key
        self._folder = folder
        self._max_bytes = max_bytes
        self._leases = leases
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self.known: OrderedDict[str, Known] = OrderedDict()  # least recently used first
        self.num_loads = 0
        self.num_evictions = 0

    async def ready(self, prefix: Prefix, task: str) -> None:
        """Return once a sequence of a task can name the soft prompt. Raises `NumbersOverflow` and `StepFailed`.

        Callers share one capture. One that is cancelled leaves it to the others.
        """
        digest = prefix.digest
        if digest not in self.known:
            if digest not in self._running:
                self._running[digest] = asyncio.create_task(self._make_known(prefix, task))
                self._running[digest].add_done_callback(lambda done: self._end(digest, done))
            await asyncio.shield(self._running[digest])
        self.note_use(prefix, task)

    def has_room(self, prefix: Prefix) -> bool:
        """Whether the soft prompt is known, or the connector has to drop nothing for it."""
        num_bytes = sum(known.num_bytes for known in self.known.values())
        wanted = self._backend.facts.prefix_bytes(prefix.num_virtual_tokens)
        return prefix.digest in self.known or num_bytes + wanted <= self._max_bytes

    def note_use(self, prefix: Prefix, task: str) -> None:
        """A sequence of a task begins or ends to use the soft prompt."""
        if (known := self.known.get(prefix.digest)) is not None:
            known.task, known.used_at = task, self._clock()
            self.known.move_to_end(prefix.digest)

    def forget(self, digest: str) -> None:
        """The connector does not know the digest any more: its next use makes it known again."""
        known = self.known.pop(digest, None)
        if known is not None:
            self.num_evictions += 1
            if known.is_file:
                path_of(self._folder, digest).unlink(missing_ok=True)

    def _end(self, digest: str, done: asyncio.Task[None]) -> None:
        del self._running[digest]
        if not done.cancelled():
            done.exception()  # seen, also where every caller has gone

    async def _make_known(self, prefix: Prefix, task: str) -> None:
        is_file = prefix.kind is PrefixKind.KEY_VALUES
        if is_file:
            await asyncio.to_thread(self._write, prefix)
        else:
            await self._capture(prefix)
        num = prefix.num_virtual_tokens
        self.known[prefix.digest] = Known(num, self._backend.facts.prefix_bytes(num), is_file, task, self._clock())
        self.num_loads += 1
        self._drop_unused(prefix.digest)

    def _drop_unused(self, newest: str) -> None:
        """Forget what was unused for longest and is in nobody's use, as the connector does."""
        num_bytes = sum(known.num_bytes for known in self.known.values())
        for digest in list(self.known):
            if num_bytes <= self._max_bytes:
                break
            if digest != newest and not self._leases[digest]:
                num_bytes -= self.known[digest].num_bytes
                self.forget(digest)

    async def _capture(self, prefix: Prefix) -> None:
        rows = prefix.tensor.to(self._backend.facts.dtype)
        inputs = capture_inputs(self._capture_key, prefix.digest, rows)
        inputs = EngineInputs(inputs.prompt, inputs.sampling | {"logprobs": 0})
        reason, logprobs = None, [0.0]
        async with aclosing(self._backend.generate(f"capture-{uuid.uuid4().hex}", inputs)) as outputs:
            async for output in outputs:
                reason = output.finish_reason
                logprobs += [logprob for ranked in output.logprobs for logprob, _ in ranked.values()]
        if reason not in ("stop", "length"):
            raise StepFailed("vLLM refused to capture the soft prompt; its log says why")
        if not all(map(math.isfinite, logprobs)):
            raise NumbersOverflow("the soft prompt makes the model's numbers overflow")

    def _write(self, prefix: Prefix) -> None:
        dtype = self._backend.facts.dtype
        tensor = prefix.tensor.to(dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise NumbersOverflow(f"the soft prompt overflows in {dtype}")
        layers = tensor.unbind(1)
        try:
            write_key_values(self._folder, prefix.digest, list(zip(layers[::2], layers[1::2], strict=True)))
        except OSError as error:
            raise StepFailed("the file of a soft prompt cannot be written") from error
