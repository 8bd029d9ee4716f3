"""The engine's steps against the time of their linear layers alone, prefill and decode apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.contender import Run
from benchmarks.folders import ROOT
from benchmarks.records import Record
from benchmarks.session import Session

DECODE = "decode step s"
DECODE_ONE = "decode step of one sequence s"
PREFILL = "prefill of 512 tokens s"

_PREFILL_TOKENS = 512  # the engine's largest step on a CPU


def measure(session: Session) -> Iterator[Record]:
    """Seconds of a decode step of a full batch, of one of a single sequence, and of 512 prompt tokens.

    Engine and lower bound take turns.
    """
    batch = session.sizes.concurrency
    with session.start("engine") as engine:
        for number in session.rounds():
            decode = session.workload(
                2_000 + number, num_requests=batch, num_output=session.sizes.num_output, prompt_lengths=(16, 16)
            )
            prefill = session.workload(3_000 + number, num_requests=batch, num_output=1)
            num_prompt = sum(len(request.prompt) for request in prefill.requests)
            bounds = _lower_bounds(session, batch)
            yield session.record(DECODE, "lower bound", number, **bounds[batch])
            yield session.record(DECODE, "engine", number, decode_step_seconds(engine.run(decode)))
            one = session.workload(
                5_000 + number, num_requests=1, num_output=session.sizes.num_output, prompt_lengths=(16, 16)
            )
            yield session.record(DECODE_ONE, "lower bound", number, **bounds[1])
            yield session.record(DECODE_ONE, "engine", number, decode_step_seconds(engine.run(one)))
            yield session.record(PREFILL, "lower bound", number, **bounds[_PREFILL_TOKENS])
            seconds = engine.run(prefill).seconds * _PREFILL_TOKENS / num_prompt
            yield session.record(PREFILL, "engine", number, seconds)


def decode_step_seconds(run: Run) -> float:
    """Seconds of a step while every answer of the run is being decoded: each such step gives each answer one token.

    Where no step is seen to give each answer one (the reader of an answer came late), of the whole time of decoding.
    """
    begin = max(answer.token_s[0] for answer in run.answers)
    end = min(answer.token_s[-1] for answer in run.answers)
    if begin >= end:
        begin = min(answer.token_s[0] for answer in run.answers)
        end = max(answer.token_s[-1] for answer in run.answers)
    num_tokens = sum(begin < time <= end for answer in run.answers for time in answer.token_s)
    return (end - begin) * len(run.answers) / num_tokens


def _lower_bounds(session: Session, batch: int) -> dict[int, dict[str, Any]]:
    """By number of tokens, the seconds as `value` and the kernels that took them."""
    threads = str(session.threads)
    command = [sys.executable, "-m", "benchmarks.lower_bound", "--model", session.model.name, "--threads", threads]
    command += ["--decode", "1", str(batch), "--prefill", str(_PREFILL_TOKENS), "--repeats", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return {
        bound["num_tokens"]: {"value": bound["seconds"], "kernels": bound["kernels"]}
        for bound in json.loads(done.stdout)
    }
