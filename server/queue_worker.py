"""Worker of a queue in the store: it repeats its steps, claims without loss at a shutdown, and finds silent servers."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from prompts_store.errors import StoreUnavailable
from server.threads import Threads

_log = logging.getLogger(__name__)

_Beat = TypeVar("_Beat", bound=Hashable)
_Claim = TypeVar("_Claim")
_Record = TypeVar("_Record")
Step = Callable[[], Awaitable[bool]]
"""One step of a worker; whether it found work."""


def worker_name() -> str:
    """Name of this server in its claims, unlike that of any other."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


@dataclass(slots=True, eq=False)
class StepLoops:
    """Repeats the steps of a worker, each in a task of its own. Belongs to the event loop.

    After a step that found no work it pauses for `poll_interval_s`, or until it is woken. `name` says whose steps fail.
    """

    name: str
    poll_interval_s: float
    _wakers: set[asyncio.Event] = field(default_factory=set, init=False)

    async def run(self, steps: Mapping[str, Step]) -> None:
        """Repeat the steps until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, step in steps.items():
                group.create_task(self._repeat(step), name=f"{self.name}: {name}")

    def wake(self) -> None:
        """End every pause now, because there may be work."""
        for waker in self._wakers:
            waker.set()

    async def _repeat(self, step: Step) -> None:
        """Repeat a step. Pause after one that found no work, or could not reach the store, or failed."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        while True:
            found_work = False
            try:
                found_work = await step()
            except StoreUnavailable:
                pass
            except Exception:  # the edge of a worker: an error of one piece of work must not stop the others
                _log.exception("the runner of %s failed in a step, and continues", self.name)
            if not found_work:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.poll_interval_s):
                        await waker.wait()
            waker.clear()


async def claim_or_release(
    threads: Threads,
    claim: Callable[[], tuple[_Claim, _Record] | None],
    release: Callable[[_Claim], object],
    leave_timeout_s: float,
) -> tuple[_Claim, _Record] | None:
    """Claim work in a thread. At a shutdown meanwhile, release what was just claimed: it has no heartbeat yet."""
    claiming = asyncio.create_task(threads.run(claim))
    try:
        return await asyncio.shield(claiming)
    except asyncio.CancelledError:
        try:
            async with asyncio.timeout(leave_timeout_s):
                if (found := await claiming) is not None:
                    await threads.run(release, found[0])
        except Exception:  # the shutdown continues; another server takes the work over
            _log.warning("work that was just claimed could not be given back", exc_info=True)
        raise


@dataclass(slots=True, eq=False)
class SilenceWatch(Generic[_Beat]):
    """Finds heartbeats that have not changed for `takeover_s`, by `clock`, which counts seconds.

    While the store cannot be reached no server can beat. So an error of the store clears all silence seen before it,
    and after the outage every claim gets the full time again. Belongs to the event loop.
    """

    takeover_s: float
    clock: Callable[[], float]
    _silent_since: dict[_Beat, float] = field(default_factory=dict, init=False)

    @asynccontextmanager
    async def silent(self, beats: Awaitable[Iterable[_Beat]]) -> AsyncIterator[list[_Beat]]:
        """Give the silent ones among the heartbeats of other servers to a block, whose error clears the silence too.

        Raises what reading them raises.
        """
        now = self.clock()
        silent_since, self._silent_since = self._silent_since, {}
        silent_since = {beat: silent_since.get(beat, now) for beat in await beats}
        yield [beat for beat, since in silent_since.items() if now - since > self.takeover_s]
        self._silent_since = silent_since
