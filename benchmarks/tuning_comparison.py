"""Ways to teach one frozen base a task, on the same base, data and steps: cost, score, and what switching task takes.

    python -m benchmarks.tuning_comparison results.json             run what the file lacks, one process a run
    python -m benchmarks.tuning_comparison results.json --report    print the tables of docs/tuning.md
    python -m benchmarks.tuning_comparison results.json --plot comparison.png     needs matplotlib

Soft prompts are tuned by server/tuning, LoRA by PEFT, and all weights by a plain loop; float32, one thread. Each is
judged by exact match of greedy answers, as transformers and PEFT generate them, on held-out examples of `route`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.task_switching import switching
from benchmarks.tuning_methods import FULL, LORA, Setting, run
from server.tuning.plan import Initialisation, Method

SEEDS = (1, 2, 3)
TOKENS = (1, 4, 8, 16, 32, 64)
FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0)


def settings() -> Iterator[Setting]:
    """Every run, all of the first seed first."""
    for seed in SEEDS:
        yield from (Setting(method, seed) for method in (*Method, LORA, FULL))
        yield from (Setting(Method.PROMPT_TUNING, seed, rate_factor=factor) for factor in FACTORS)
        yield from (Setting(Method.PROMPT_TUNING, seed, 16, start) for start in ("RANDOM", "TEXT", "LABELS"))
        yield from (Setting(Method.PROMPT_TUNING, seed, tokens) for tokens in TOKENS if tokens != 16)


def main() -> None:
    """Run, report or plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--workers", type=int, default=1, help="runs at once; more than cores spoils the times")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.one is not None:
        torch.set_num_threads(1)
        found = switching() if options.one == "switch" else asdict(run(Setting(**json.loads(options.one))))
        print(json.dumps(found))
    elif options.report:
        report(read(options.results))
    elif options.plot is not None:
        plot(read(options.results), options.plot)
    else:
        run_missing(options.results, options.workers)


def read(results: Path) -> dict[str, Any]:
    """Return outcomes by setting."""
    found: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    return found


def run_missing(results: Path, num_workers: int) -> None:
    """Run each setting that has no outcome yet, in a process of its own, and write it down."""
    keys = ("switch", *(json.dumps(asdict(setting)) for setting in settings()))
    missing = [key for key in keys if key not in read(results)]
    with ThreadPoolExecutor(num_workers) as pool:
        running = {pool.submit(run_alone, results, key): key for key in missing}
        for done in as_completed(running):
            results.write_text(json.dumps({**read(results), running[done]: done.result()}, indent=1))
            print(running[done], done.result(), flush=True)


def run_alone(results: Path, key: str) -> dict[str, Any]:
    """Run one setting in a process of its own, whose memory is then its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.tuning_comparison", str(results), "--one", key]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(text.splitlines()[-1])
    return answer


def report(results: dict[str, Any]) -> None:
    """Print Markdown tables: means over the seeds that were run, and how many those were."""
    print(
        "| method | parameters | bytes a task | peak MiB | CPU s | exact match | seeds |\n|---|---|---|---|---|---|---|"
    )
    for method in (*Method, LORA, FULL):
        found = of_setting(results, method=method)
        if found:
            first, scores = found[0], [one["score"] for one in found]
            growth, cpu_s = (statistics.mean(one[field] for one in found) for field in ("growth_mib", "cpu_s"))
            print(
                f"| {method} | {first['num_parameters']:,} | {first['num_bytes']:,} | {growth:.0f} | {cpu_s:.0f} "
                f"| {spread(scores)} | {len(found)} |"
            )
    for name, values in SWEEPS.items():
        print(f"\n| {name} | exact match | seeds |\n|---|---|---|")
        for value in values:
            scores = [one["score"] for one in of_setting(results, **{name: value})]
            if scores:
                print(f"| {'default' if value is None else value} | {spread(scores)} | {len(scores)} |")
    for name, value in results.get("switch", {}).items():
        print(f"{name}: {value:.2f} ms")


SWEEPS: dict[str, Sequence[Any]] = {
    "num_virtual_tokens": TOKENS,
    "initialisation": tuple(Initialisation),
    "rate_factor": (None, *FACTORS),
}


def of_setting(results: dict[str, Any], **given: Any) -> list[dict[str, Any]]:
    """Return the outcomes of one setting by all seeds; what is not given is as by default."""
    wanted = {"method": Method.PROMPT_TUNING.value, **given}
    keys = (json.dumps(asdict(Setting(seed=seed, **wanted))) for seed in SEEDS)
    return [results[key] for key in keys if key in results]


def spread(scores: Sequence[float]) -> str:
    """Return a mean, with the range where there are several."""
    mean = f"{statistics.mean(scores):.3f}"
    return mean if len(scores) == 1 else f"{mean} ({min(scores):.3f} to {max(scores):.3f})"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the score over virtual tokens and over learning rates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("num_virtual_tokens", "rate_factor"),
        ("virtual tokens", "learning rate / RMS of the embeddings"),
        strict=True,
    ):
        points = [(value, of_setting(results, **{name: value})) for value in SWEEPS[name] if value is not None]
        drawn = [(value, statistics.mean(one["score"] for one in found)) for value, found in points if found]
        axes.plot(*zip(*drawn, strict=True), "o-")
        axes.set(xscale="log", xlabel=label, ylabel="exact match", ylim=(0, 1))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
