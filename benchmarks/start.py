"""What does a start cost? CPU seconds until `/ready` answers, with a store that exists, beside llama.cpp.

CPU time is that of all threads, as Linux counts it: a busy machine changes it much less than the clock's time.
llama.cpp's is that of its process here, which reads the same weights and proves nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks import gguf_file
from benchmarks.contender import Setup
from benchmarks.live_server import live_process
from benchmarks.process import ContenderProcess, ContenderUnavailable
from benchmarks.records import Record
from benchmarks.session import Session, say

MEASURE = "CPU s to ready"


def measure(session: Session) -> Iterator[Record]:
    """One start of each a round. The server's first one makes the store and the fingerprint, and is not counted."""
    with tempfile.TemporaryDirectory() as data_dir:
        _start_server(session, data_dir)
        for number in session.rounds():
            yield session.record(MEASURE, "http", number, _start_server(session, data_dir))
            try:
                yield session.record(MEASURE, "llama.cpp F32", number, _start_llama_cpp(session))
            except ContenderUnavailable as error:
                say(f"llama.cpp F32: {error}")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, in steps of Linux's clock (mostly 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start_server(session: Session, data_dir: str) -> float:
    settings: dict[str, Any] = {"threads": session.threads, "data_dir": data_dir}
    if session.model.name != "demo":
        settings["base_model"] = session.model.folder
    with live_process(**settings) as (pid, address):
        httpx.get(f"{address}/ready").raise_for_status()
        return cpu_seconds(pid)


def _start_llama_cpp(session: Session) -> float:
    gguf_file.prepare(session.model, "F32")
    with ContenderProcess(Setup("llama.cpp", session.model, session.threads, settings={"weights": "F32"})) as process:
        return cpu_seconds(process.pid)
