"""The benchmark on a GPU: decode against the memory bandwidth, prefill, mixed tasks, and the other contenders.

    make bench-gpu                                             Llama shapes of 1.5 B and 7 B in bfloat16
    make bench-gpu ARGS="--shape 1.5b --batches 1,64 --rounds 1"
    python -m benchmarks.gpu --shape tiny --device cpu         whether it runs, anywhere; its figures say nothing

Weights are random, made on the device, and kept in .bench/models (3.1 GB and 13.5 GB). Measurements are added to
.bench/gpu_results.jsonl. Exits with 0 whatever the figures are, and where there is no GPU, saying so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.folders import CACHE
from benchmarks.gpu.sections import measure_contenders, measure_steps
from benchmarks.gpu.thresholds import thresholds
from benchmarks.machine_lock import MachineLock
from benchmarks.models import SHAPES, prepare
from benchmarks.process import ContenderUnavailable
from benchmarks.promises import mixed_tasks
from benchmarks.records import Record, append
from benchmarks.session import Session, say
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.table import report

_NAMES = ("1.5b", "7b", "tiny")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, keep the records, print the tables."""
    options = _parse(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        say("not measured: this machine, or this build of PyTorch, has no CUDA device")
        return
    name = time.strftime("%Y%m%dT%H%M%S")
    records: list[Record] = []
    for shape in options.shape:
        for record in _measure(f"llama-{shape}", name, options):
            append(CACHE / "gpu_results.jsonl", [record])
            records.append(record)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU, which says nothing of a GPU"
    print(f"On {where}, PyTorch {torch.__version__}:\n")
    print(report(records, thresholds(options.batches)))


def _measure(model: str, name: str, options: argparse.Namespace) -> Iterator[Record]:
    settings: dict[str, Any] = {"device": options.device, "dtype": SHAPES[model].dtype}
    if options.device != "cpu":
        settings["kv_cache_gib"] = None  # the engine takes what is free, as a server does
    session = Session(
        name, prepare(model, options.device), options.threads, _sizes(options), MachineLock(None, 0.0), settings
    )
    sections: tuple[Callable[[], Iterator[Record]], ...] = (
        lambda: measure_steps(session, options.batches),
        lambda: mixed_tasks.measure(session),
        lambda: measure_contenders(session),
    )
    for section in sections:
        try:
            yield from section()
        except ContenderUnavailable as error:
            say(f"left out: {error}")


def _sizes(options: argparse.Namespace) -> Sizes:
    if options.quick:
        sizes = replace(QUICK, num_output=24, num_requests=16, concurrency=16)
    else:
        sizes = replace(FULL, num_output=128, num_requests=64, concurrency=64)
    return replace(sizes, rounds=options.rounds or sizes.rounds)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=_shapes, default=["1.5b", "7b"], help=f"of: {', '.join(_NAMES)}")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the script")
    parser.add_argument("--batches", type=_batches, default=[1, 32, 64, 128, 256], help="sequences in a decode step")
    parser.add_argument("--rounds", type=int, help="repeats; 3 unless told")
    parser.add_argument("--quick", action="store_true", help="fewer requests and tokens, one round")
    parser.add_argument("--threads", type=int, default=4, help="CPU threads for each contender")
    return parser.parse_args(arguments)


def _shapes(text: str) -> list[str]:
    shapes = text.split(",")
    if unknown := set(shapes) - set(_NAMES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(_NAMES)}")
    return shapes


def _batches(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    main()
