"""The tuning process as its parent sees it: started, proved equal, and ended."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server import __version__
from server.jobs.process.messages import Channel, Failed, Hello, Message, Ready, Settings

_HELLO_S = 60.0
_END_S = 20.0
_MODULE = "server.cli.tuning.process"


class TuningProcessFailed(Exception):
    """The tuning process does not start, or is not equal. The message is written for the operator."""


@dataclass(frozen=True, slots=True, eq=False)
class TuningCommand:
    """How the tuning process is started: by which Python, with which environment and settings."""

    python: Path
    environment: Mapping[str, str]
    settings: Mapping[str, Any]
    module: str = _MODULE


class TuningChild:
    """A tuning process. It ends when its channel is closed, as it is by every end of this process."""

    def __init__(self, command: TuningCommand) -> None:
        """Start the process, which must be of this release. It loads nothing yet. Raises `TuningProcessFailed`."""
        self.command = command
        own, its = socket.socketpair()
        with its:
            try:
                # A group of its own: Ctrl-C in a terminal goes to this process alone, which ends the other in order.
                self._process = subprocess.Popen(
                    [command.python, "-P", "-m", command.module, str(its.fileno())],
                    env=command.environment,
                    pass_fds=(its.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    process_group=0,
                )
            except OSError as error:
                own.close()
                raise TuningProcessFailed(
                    f"--tuning-python {command.python} cannot be run: {error.strerror}"
                ) from error
        self.channel = Channel(own)
        try:
            self._greet()
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def prove(self, fingerprint: str) -> Ready:
        """Let it load the base model, which must have this fingerprint; else it ends. Raises `TuningProcessFailed`."""
        try:
            return self._load(fingerprint)
        except BaseException:
            self.end()
            raise

    def _greet(self) -> None:
        hello = self._receive(_HELLO_S)
        assert isinstance(hello, Hello)
        if hello.version != __version__:
            raise TuningProcessFailed(
                f"--tuning-python {self.command.python} has release {hello.version} of the server, and this is "
                f"{__version__}; install the same one"
            )

    def _load(self, fingerprint: str) -> Ready:
        self.channel.send(Settings(self.command.settings))
        ready = self._receive()
        assert isinstance(ready, Ready)
        if ready.fingerprint != fingerprint:
            raise TuningProcessFailed(
                f"the tuning process has a base model of the fingerprint {ready.fingerprint}, and this server of "
                f"{fingerprint}: the libraries of the two environments read its tokenizer or its files differently"
            )
        return ready

    def _receive(self, timeout_s: float | None = None) -> Message:
        try:
            message = self.channel.receive(timeout_s)
        except TimeoutError as error:
            raise TuningProcessFailed(
                f"--tuning-python {self.command.python} says nothing for {timeout_s:.0f} s"
            ) from error
        if isinstance(message, Failed):
            raise TuningProcessFailed(f"the tuning process does not start: {message.message}")
        if message is None:
            raise TuningProcessFailed(
                f"the tuning process ended with status {self.end()} before it was ready: --tuning-python must be the "
                "Python of a virtual environment with this server's own libraries, as `make install` makes one"
            )
        return message

    def end(self) -> int:
        """End it: it saves its job first. One that does not end is killed. Returns its exit status."""
        self.channel.hang_up()
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.channel.close()
        return status


def environment_of_child() -> dict[str, str]:
    """The environment of this process without the settings of its server, which the process gets otherwise."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SOFTPROMPT_")}
