"""The tuning process beside vLLM's engine: our engine with a runner of jobs, and no port.

`serve --engine vllm --tuning-python` starts it as `python -m server.cli.tuning.process FD`. FD is one end of a pair of
sockets (`server.jobs.process.messages`). The process ends when the other end is closed, as by every end of its server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from pydantic import ValidationError

from prompts_store.errors import StoreError
from server import __version__
from server.cli.serving.watchdog import Watchdog
from server.jobs.process.messages import Channel, Failed, Hello, Ready, Report, Settings, Work
from server.loading import hide_progress_bars
from server.logging import configure_logging
from server.settings import ServeSettings

if TYPE_CHECKING:
    from server.engine.client import TuningEngine
    from server.jobs.runner import JobRunner

_REPORT_S = 0.5
_LEAVE_S = 15.0
"""Seconds for the piece that runs to end and its state to be saved. Then the process ends all the same."""

logger = logging.getLogger("server.cli.tuning.process")  # its name is __main__ where it runs


def main(channel: Channel) -> int:
    """Load the base model, and work on jobs until the server ends or a signal arrives. Returns the exit status."""
    channel.send(Hello(__version__))
    given = channel.receive()
    if not isinstance(given, Settings):
        return 1
    try:
        settings = ServeSettings(**given.values)
    except ValidationError as error:
        channel.send(Failed(str(error)))
        return 1
    configure_logging(settings.log_level, settings.log_format)
    hide_progress_bars()
    return _load_and_work(channel, settings)


def _load_and_work(channel: Channel, settings: ServeSettings) -> int:
    from server.app import open_job_runner
    from server.model.errors import ModelError
    from server.tokenizer.errors import TextError

    server = Server(channel)
    server.listen()
    try:
        with open_job_runner(settings, lambda: server.owned_tasks) as (bench, runner):
            costs = runner.host.costs
            channel.send(Ready(bench.base.fingerprint, None if costs is None else asdict(costs)))
            server.begun.wait()
            logger.info("the tuning process works on %s", bench.loaded.device)
            asyncio.run(work(server, bench.engine, runner))
    except (ModelError, TextError, StoreError) as error:
        channel.send(Failed(str(error)))
        return 1
    return 0


class Server:
    """The server that started this process: a thread listens to it.

    `on_work` and `on_gone` are called on the thread. Until work has begun, its end is that of this process.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.owned_tasks: Sequence[str] = ()
        self.begun = threading.Event()
        self.on_work: Callable[[], object] = lambda: None
        self.on_gone: Callable[[], object] = partial(os._exit, 0)

    def listen(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._listen, name="server", daemon=True).start()

    def _listen(self) -> None:
        while isinstance(message := self.channel.receive(), Work):
            self.owned_tasks = message.owned_tasks
            self.begun.set()
            self.on_work()
        self.on_gone()


async def work(server: Server, engine: TuningEngine, runner: JobRunner) -> None:
    """Work on jobs until the server has gone or a signal arrives. The job that runs then is saved and given back."""
    from server.model.allocator import trimming_heap

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    server.on_work, server.on_gone = _on(loop, runner.nudge), _on(loop, stop.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    leaving = threading.Timer(_LEAVE_S, os._exit, (1,))
    leaving.daemon = True
    async with trimming_heap(), engine.running(), runner.running():
        Watchdog(lambda: engine.is_alive or (stop.is_set() and not engine.is_wedged)).start()
        told = None
        while not stop.is_set():
            if (stats := runner.stats) != told:
                server.channel.send(Report(asdict(stats)))
                told = stats
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_S):
                    await stop.wait()
        logger.info("the tuning process stops")
        leaving.start()
    leaving.cancel()


def _on(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> Callable[[], None]:
    """The call, from another thread on the loop, unless that is closed."""

    def run() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(call)

    return run


if __name__ == "__main__":
    sys.exit(main(Channel(socket.socket(fileno=int(sys.argv[1])))))
