"""Speed: one stream and 32 at once, each form of weights in interleaved rounds, beside llama.cpp where it is."""

from __future__ import annotations

import contextlib
import os
import statistics
from pathlib import Path

from benchmarks.machine_lock import MachineLock
from benchmarks.models import prepare
from benchmarks.process import ContenderProcess, ContenderUnavailable
from benchmarks.session import Session, say
from benchmarks.sizes import Sizes
from server.model.cpu.quantise_model import FORMS

_ENTRANTS: dict[str, tuple[str, dict[str, str]]] = {
    "float32": ("engine", {}),
    **{form: ("engine", {"weights": form}) for form in FORMS},
    "--dtype bfloat16": ("engine", {"dtype": "bfloat16"}),
    "llama.cpp Q8_0": ("llama.cpp", {"weights": "Q8_0"}),
}
_STREAMS = {"one stream": (4, 1), "32 at once": (32, None)}
_NUM_PROMPT, _NUM_OUTPUT = 24, 48


def print_speed(name: str, num_rounds: int) -> None:
    """A table of tokens per second by wall and by processor time, medians, and their ratios to float32's."""
    session = Session("weights", prepare(name), 1, Sizes(rounds=num_rounds), MachineLock(None, 0))
    wall: dict[tuple[str, str], list[float]] = {}
    cpu: dict[tuple[str, str], list[float]] = {}
    with contextlib.ExitStack() as exits:
        processes: dict[str, ContenderProcess] = {}
        for entrant, (contender, settings) in _ENTRANTS.items():
            try:
                processes[entrant] = exits.enter_context(session.start(contender, settings=settings))
            except ContenderUnavailable as error:
                say(f"{entrant}: {error}")
        for number in session.rounds():
            for streams in _STREAMS:
                first = number % len(processes)
                for entrant in [*processes][first:] + [*processes][:first]:
                    by_wall, by_cpu = _measure(session, processes[entrant], streams, number)
                    wall.setdefault((streams, entrant), []).append(by_wall)
                    cpu.setdefault((streams, entrant), []).append(by_cpu)
                    say(f"{number} {streams}, {entrant}: {by_wall:.1f} tokens/s, {by_cpu:.1f} by processor time")
    print("| | " + " | ".join(processes) + " |\n|---|" + "---:|" * len(processes))
    for clock, figures in (("wall", wall), ("processor", cpu)):
        for streams in _STREAMS:
            medians = [f"{statistics.median(figures[streams, entrant]):.0f}" for entrant in processes]
            ratios = [_ratio(figures, streams, entrant) for entrant in processes]
            print(f"| {streams}, tokens per second of {clock} time | {' | '.join(medians)} |")
            print(f"| over float32's | {' | '.join(ratios)} |")


def _ratio(figures: dict[tuple[str, str], list[float]], streams: str, entrant: str) -> str:
    pairs = zip(figures[streams, entrant], figures[streams, "float32"], strict=True)
    return f"{statistics.median(ours / theirs for ours, theirs in pairs):.2f}"


def _measure(session: Session, process: ContenderProcess, streams: str, number: int) -> tuple[float, float]:
    """Tokens per second of wall time and of processor time."""
    num_requests, num_clients = _STREAMS[streams]
    workload = session.workload(
        7_000 + number,
        num_requests=num_requests,
        num_output=_NUM_OUTPUT,
        prompt_lengths=(_NUM_PROMPT, _NUM_PROMPT),
        num_clients=num_clients,
    )
    began = _cpu_s(process)
    run = process.run(workload)
    return workload.num_output_tokens / run.seconds, workload.num_output_tokens / (_cpu_s(process) - began)


def _cpu_s(process: ContenderProcess) -> float:
    """Processor time of a contender so far, all threads, in seconds (Linux)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
