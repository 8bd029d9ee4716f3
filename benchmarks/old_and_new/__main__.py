"""Is what was there before as fast as it was? An earlier commit beside this one, one thread each.

    git worktree add --detach ../before COMMIT      then build its C module there:
    (cd ../before && PYTHON -c "import setuptools; setuptools.setup()" -q build_ext --inplace)
    python -m benchmarks.old_and_new ../before --pairs 12

A pair is one process of each commit. Both load the base models, and then do the same pieces of work in turn, so that
both meet the same noise. The ratio of a pair is the old commit's seconds over this one's: above 1 this one is faster.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.folders import CACHE, ROOT
from benchmarks.models import DEMO, GPT2, BenchModel, prepare
from benchmarks.spread import median_interval

KINDS = ("serve", "tune")
CLOCKS = ("cpu_s", "wall_s")


def main() -> None:
    """Run the pairs; print each ratio as it is found, and the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="folder of the earlier commit's checkout")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--turns", type=int, default=6, help="pieces of work of each kind in a pair, on each side")
    parser.add_argument("--models", nargs="*", default=[DEMO, GPT2])
    given = parser.parse_args()
    models = [prepare(name) for name in given.models]
    ratios: dict[tuple[str, str, str], list[float]] = {}
    for number in range(given.pairs):
        for key, ratio in _pair(given.old.resolve(), models, given.turns, number):
            ratios.setdefault(key, []).append(ratio)
            print(number, *key, f"{ratio:.3f}", file=sys.stderr, flush=True)
    print("| base | work | clock | pairs | median, old over new | 95 % of the median |\n|---|---|---|---:|---:|---|")
    for (name, kind, clock), values in ratios.items():
        low, high = median_interval(values)
        print(
            f"| {name} | {kind} | {clock} | {len(values)} | {statistics.median(values):.3f} | {low:.3f} to {high:.3f} |"
        )


def _pair(
    old: Path, models: list[BenchModel], num_turns: int, number: int
) -> Iterator[tuple[tuple[str, str, str], float]]:
    """The ratios of one pair of processes, by base model, kind of work and clock."""
    with ExitStack() as exits:
        sides = {name: exits.enter_context(_process(root)) for name, root in (("old", old), ("new", ROOT))}
        for side in sides.values():
            _send(side, [asdict(model) for model in models])
        for side in sides.values():
            _receive(side)
        for model in models:
            for kind in KINDS:
                yield from _ratios(sides, model, kind, num_turns, number)


def _ratios(
    sides: dict[str, subprocess.Popen[str]], model: BenchModel, kind: str, num_turns: int, number: int
) -> Iterator[tuple[tuple[str, str, str], float]]:
    """The sides take turns, each beginning as often; the first turn warms up and does not count."""
    seconds: dict[str, list[Any]] = {name: [] for name in sides}
    for turn in range(num_turns + 1):
        order = list(sides) if (turn + number) % 2 else list(reversed(sides))
        for name in order:
            _send(sides[name], (model.name, kind, 1_000 * number + turn))
            seconds[name].append(_receive(sides[name]))
    for clock in CLOCKS:
        total = {name: statistics.median(each[clock] for each in turns[1:]) for name, turns in seconds.items()}
        yield (model.name, kind, clock), total["old"] / total["new"]


@contextmanager
def _process(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A side with the packages of the checkout `root`."""
    log = CACHE / "logs" / f"old-and-new-{root.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    script = ROOT / "benchmarks" / "old_and_new" / "side.py"
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=root,
            env=os.environ | one | {"PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _send(process: subprocess.Popen[str], message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def _receive(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a side has ended; its log is in {CACHE / 'logs'}")
    return json.loads(line)


if __name__ == "__main__":
    main()
