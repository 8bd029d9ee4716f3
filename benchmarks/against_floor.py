"""The engine's steps against the time of their linear layers alone, prefill and decode apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.comparison import say
from benchmarks.contenders.base import Run, Setup
from benchmarks.folders import ROOT
from benchmarks.models import BenchModel
from benchmarks.process import ContenderProcess
from benchmarks.records import Record
from benchmarks.sizes import Sizes
from benchmarks.workload import make_workload

_PREFILL_TOKENS = 512  # the engine's step on a CPU


def measure(model: BenchModel, threads: int, sizes: Sizes, sitting: str) -> Iterator[Record]:
    """Seconds of a decode step of `sizes.concurrency` sequences and of 512 prompt tokens, engine and floor in turn."""
    with ContenderProcess(Setup("engine", model, threads, sizes.concurrency)) as engine:
        engine.run(make_workload(model.vocab_size, seed=1, num_requests=8, num_output=2))
        for number in range(sizes.rounds):
            batch = sizes.concurrency
            decode = make_workload(
                model.vocab_size, seed=2_000 + number, num_requests=batch, num_output=max(24, sizes.num_output)
            )
            prefill = make_workload(model.vocab_size, seed=3_000 + number, num_requests=2 * batch, num_output=1)
            num_prompt = sum(len(request.prompt) for request in prefill.requests)
            floors = _floor(model, threads, batch)
            figures = {
                ("decode step s", "engine"): decode_step_seconds(engine.run(decode)),
                ("decode step s", "floor"): floors[batch]["seconds"],
                ("prefill of 512 s", "engine"): engine.run(prefill).seconds * _PREFILL_TOKENS / num_prompt,
                ("prefill of 512 s", "floor"): floors[_PREFILL_TOKENS]["seconds"],
            }
            kernels = {
                "decode step s": floors[batch]["kernels"],
                "prefill of 512 s": floors[_PREFILL_TOKENS]["kernels"],
            }
            for (name, subject), seconds in figures.items():
                say(f"round {number + 1}, {threads} thread(s), {name}, {subject}: {seconds:.4f}")
                notes = {"kernels": kernels[name]} if subject == "floor" else {}
                yield Record(name, subject, model.name, threads, f"{sitting}-{number}", seconds, notes=notes)


def decode_step_seconds(run: Run) -> float:
    """Seconds of a step while every answer of the run is being decoded: each such step gives each answer one token."""
    begin = max(answer.token_s[0] for answer in run.answers)
    end = min(answer.token_s[-1] for answer in run.answers)
    num_tokens = sum(begin < time <= end for answer in run.answers for time in answer.token_s)
    return (end - begin) * len(run.answers) / num_tokens


def _floor(model: BenchModel, threads: int, batch: int) -> dict[int, dict[str, object]]:
    command = [sys.executable, "-m", "benchmarks.floor", "--model", model.name, "--threads", str(threads)]
    command += ["--decode", str(batch), "--prefill", str(_PREFILL_TOKENS)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return {floor["num_tokens"]: floor for floor in json.loads(done.stdout)}
