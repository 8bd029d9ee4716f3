"""The standard streams of a command: open, able to write every text, and silent once their reader has gone."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from server.cli.errors import UsageProblem

_STANDARD = {0: "stdin", 1: "stdout", 2: "stderr"}


def prepare_streams() -> None:
    """Open closed standard streams on the null device, and escape characters that the output's encoding lacks.

    Otherwise a file opened later would get a standard stream's number, and printed text would go into that file.
    """
    for number, name in _STANDARD.items():
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def read_input() -> str:
    """Return all of standard input. Raises UsageProblem if it is not UTF-8."""
    try:
        text = sys.stdin.read()
        text.encode()
    except UnicodeError as error:
        raise UsageProblem("standard input is not UTF-8 text") from error
    return text


def announce(text: str) -> None:
    """Print a text that the program can do without. If it cannot be written, the program continues."""
    try:
        print(text, flush=True)
    except OSError:
        silence(sys.stdout)


def silence(*streams: Any) -> None:
    """Redirect streams that cannot be written to the null device, because Python flushes them again at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(null, stream.fileno())
    os.close(null)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
