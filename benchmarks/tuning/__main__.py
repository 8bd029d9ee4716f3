"""`python -m benchmarks.tuning`: see the package."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.tuning.judging import outcome_of
from benchmarks.tuning.plots import draw
from benchmarks.tuning.report import report
from benchmarks.tuning.results import SWITCH, keep, read_results, run_alone, run_missing
from benchmarks.tuning.settings import setting_of
from benchmarks.tuning.switching import switching
from benchmarks.tuning.tasks import ALL_TASKS


def main() -> None:
    """Run, report or plot."""
    names = [task.name for task in ALL_TASKS]
    parser = argparse.ArgumentParser(description="Default tuning beside a sweep and other methods, on six tasks.")
    parser.add_argument("results", type=Path, nargs="?", default=Path("tuning_results.json"))
    parser.add_argument("--tasks", nargs="+", choices=names, default=names)
    parser.add_argument("--cpu-hours", type=float, default=12.0, help="stop after this much; the next call goes on")
    parser.add_argument("--report", action="store_true", help="print Markdown tables of what there is")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write plots of what there is")
    parser.add_argument("--one", metavar="KEY", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        _run_one(chosen.one)
    elif chosen.report:
        print(report(read_results(chosen.results)))
    elif chosen.plot is not None:
        draw(read_results(chosen.results), chosen.plot)
    else:
        if SWITCH not in read_results(chosen.results):
            keep(chosen.results, SWITCH, run_alone(SWITCH))
        run_missing(chosen.results, chosen.tasks, chosen.cpu_hours * 3600)


def _run_one(key: str) -> None:
    torch.set_num_threads(1)
    found = switching() if key == SWITCH else outcome_of(setting_of(key))
    print(json.dumps({**found, "process_cpu_s": round(time.process_time(), 1)}))


if __name__ == "__main__":
    main()
