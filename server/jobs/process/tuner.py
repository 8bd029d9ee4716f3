"""The server's side of the tuning process: it starts the process again when it has ended, and hands on its reports."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from server.jobs.failures import OwnedTasks
from server.jobs.preparer import JobPreparer
from server.jobs.process.child import TuningChild, TuningProcessFailed
from server.jobs.process.messages import Failed, Report, Work
from server.telemetry.state_metrics import TuningStats
from server.tuning.fit import Host

_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 60.0
_NOW = frozenset({"num_validating", "num_running", "step", "num_steps"})
"""The fields of `TuningStats` that say what is, and not what was done."""

_log = logging.getLogger(__name__)


class ProcessTuner:
    """Implements `Tuner`. A thread follows the process; the other methods belong to the event loop.

    A process that has ended is started again after a pause, which doubles from `first_pause_s` to a minute while it
    does not stay up. Meanwhile no job is accepted, and those in the store wait. `child` is proved already.
    """

    def __init__(
        self,
        child: TuningChild,
        preparer: JobPreparer,
        owned_tasks: OwnedTasks,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self._child = child
        self._preparer = preparer
        self._owned_tasks = owned_tasks
        self._first_pause_s = first_pause_s
        self._stopping = threading.Event()
        self._told: Work | None = None
        self._stats = (TuningStats(), TuningStats())  # of the processes that have ended, and of this one
        self.problem: str | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `Tuner`."""
        thread = threading.Thread(target=self._follow, name="tuning-process", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._child.channel.hang_up()
            await asyncio.to_thread(thread.join)

    def nudge(self) -> None:
        """See `Tuner`."""
        self._told = Work(sorted(self._owned_tasks()))
        self._child.channel.send(self._told)

    @property
    def host(self) -> Host:
        """See `Tuner`."""
        return self._preparer.host

    @property
    def preparer(self) -> JobPreparer:
        """See `Tuner`."""
        return self._preparer

    @property
    def stats(self) -> TuningStats:
        """See `Tuner`. The totals are those of all processes."""
        ended, latest = map(asdict, self._stats)
        return TuningStats(**{name: value + (0 if name in _NOW else ended[name]) for name, value in latest.items()})

    # --- on the thread ------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        pause_s = self._first_pause_s
        while True:
            began = time.monotonic()
            self._hand_on_reports()
            status = self._child.end()
            self._stats = (self.stats, TuningStats())
            if time.monotonic() - began > _MAX_PAUSE_S:
                pause_s = self._first_pause_s
            reason = f"the tuning process ended with status {status}"
            self.problem = f"{reason}, and is started again: try again later"
            while not self._stopping.is_set() and self.problem is not None:
                _log.error("%s; it is started again in %.0f s", reason, pause_s)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
                reason = self._start()
            if self._stopping.is_set():
                return

    def _hand_on_reports(self) -> None:
        self.nudge()
        while (message := self._child.channel.receive()) is not None:
            if isinstance(message, Failed):  # its engine or its store, after it was ready
                _log.error("the tuning process has failed: %s", message.message)
                continue
            assert isinstance(message, Report)
            self._stats = (self._stats[0], TuningStats(**message.stats))
            if self._told != Work(sorted(self._owned_tasks())):
                self.nudge()

    def _start(self) -> str:
        """Start the process again. Returns why that failed; an empty text if it did not."""
        try:
            self._child = TuningChild(self._child.command)
            if self._stopping.is_set():  # its channel was not closed with that of the last one
                self._child.channel.hang_up()
            self._child.prove(self._preparer.host.base.fingerprint)
        except TuningProcessFailed as error:
            self.problem = "the tuning process does not start, and the server's log says why: try again later"
            return str(error)
        self.problem = None
        _log.info("the tuning process works again")
        return ""
