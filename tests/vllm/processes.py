"""The processes of a server on vLLM's engine, and how they end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx

from tests.system.server_process import ServerProcess


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, with their command lines."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = status.read_text().rsplit(") ", 1)
        except OSError:
            continue
        parents[int(name.split(" ", 1)[0])] = int(rest.split()[1])
    found: dict[int, str] = {}
    level = {pid}
    while level := {child for child, parent in parents.items() if parent in level}:
        found |= {child: _command(child) for child in level}
    return found


def named(processes: dict[int, str], word: str) -> list[int]:
    """Those whose command line has a word."""
    return [pid for pid, command in processes.items() if word in command]


def those_left(pids: dict[int, str], within_s: float) -> dict[int, str]:
    """The processes that have not ended after this time; empty as soon as all have."""
    end = time.monotonic() + within_s
    while (left := {pid: name for pid, name in pids.items() if _lives(pid)}) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def kill_a_worker(server: ServerProcess) -> None:
    """Kill the last worker, or the engine that is its own: `/health` tells it, the server ends, and nothing stays."""
    processes = descendants(server.process.pid)
    victim = (named(processes, "Worker") or named(processes, "EngineCore"))[-1]
    os.kill(victim, signal.SIGKILL)
    statuses = set()
    end = time.monotonic() + 60
    with httpx.Client(base_url=server.url, timeout=10) as client:
        while server.process.poll() is None and time.monotonic() < end:
            try:
                statuses.add(client.get("/health").status_code)
            except httpx.HTTPError:
                statuses.add(0)
            time.sleep(0.1)
    assert server.process.wait(60) == 70
    assert 503 in statuses
    assert not those_left(processes, within_s=30)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""
