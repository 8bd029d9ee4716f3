"""Markdown tables of what was found so far: means over the seeds that were run, and how many those were."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.tuning.results import SWITCH, Results
from benchmarks.tuning.settings import (
    NUM_TOKENS,
    NUM_TOKENS_TASK,
    SEEDS,
    Kind,
    Setting,
    best_of_sweep,
    sweep,
)
from benchmarks.tuning.tasks import ALL_TASKS
from server.tuning.plan import Method

NAMES = [task.name for task in ALL_TASKS]
_NONE = "not run"


def report(results: Results) -> str:
    """Every table, with a heading each."""
    parts = {
        "Default": defaults_table(results),
        "Sweep, on validation": sweep_table(results),
        "Methods": methods_table(results),
        "Methods, answered with the label and nothing else": methods_table(results, "exact_match"),
        "Cost": cost_table(results),
        f"Virtual tokens, `{NUM_TOKENS_TASK}`": tokens_table(results),
        "Time to switch task, ms": switch_table(results),
    }
    return "\n\n".join(f"### {heading}\n\n{table}" for heading, table in parts.items())


def defaults_table(results: Results) -> str:
    """The default beside the best setting of the sweep and the base alone, by the most likely label."""
    rows = []
    for name in NAMES:
        best = best_of_sweep(name, results)
        rows.append(
            [
                f"`{name}`",
                scores(results, Setting(Kind.ZERO_SHOT, name), seeds=(0,)),
                scores(results, Setting(Kind.FEW_SHOT, name), seeds=(0,)),
                scores(results, Setting(Kind.SOFT_PROMPT, name)),
                _NONE if best is None else scores(results, best),
                _NONE if best is None else best.choices,
            ]
        )
    return table(("task", "zero-shot", "few-shot", "default", "best of the sweep", "which is"), rows)


def sweep_table(results: Results) -> str:
    """A row for each setting of the sweep."""
    rows = []
    for settings in zip(*(sweep(name) for name in NAMES), strict=True):
        found = [results.get(setting.key) for setting in settings]
        rows.append([settings[0].choices, *(_NONE if one is None else f"{one['validation']:.3f}" for one in found)])
    return table(("setting", *(f"`{name}`" for name in NAMES)), rows)


def methods_of(name: str) -> dict[str, Setting]:
    """The rows of the comparison."""
    soft = Setting(Kind.SOFT_PROMPT, name)
    return {
        "zero-shot": Setting(Kind.ZERO_SHOT, name),
        "few-shot": Setting(Kind.FEW_SHOT, name),
        "prompt tuning": soft,
        "P-tuning": replace(soft, method=Method.P_TUNING),
        "prefix tuning": replace(soft, method=Method.PREFIX_TUNING),
        "LoRA": Setting(Kind.LORA, name),
        "all weights": Setting(Kind.FULL, name),
    }


def methods_table(results: Results, measure: str = "test") -> str:
    """The test score of each method on each task."""
    rows = []
    for method in methods_of(NAMES[0]):
        settings = [methods_of(name)[method] for name in NAMES]
        rows.append([method, *(scores(results, setting, measure=measure) for setting in settings)])
    return table(("method", *(f"`{name}`" for name in NAMES)), rows)


def cost_table(results: Results) -> str:
    """What a run takes on the real model's first task."""
    rows = []
    for method, setting in methods_of(NUM_TOKENS_TASK).items():
        found = of_seeds(results, setting)
        if found and "cpu_s" in found[0]:
            counts = (f"{found[0][name]:,}" for name in ("num_parameters", "num_bytes"))
            means = (f"{statistics.mean(one[name] for one in found):.0f}" for name in _COSTS)
            rows.append([method, *counts, *means, str(len(found))])
    columns = ("method", "parameters", "bytes per task", "peak above the model, MiB", "steps", "CPU s", "seeds")
    return table(columns, rows)


_COSTS = ("growth_mib", "num_steps", "cpu_s")


def tokens_table(results: Results) -> str:
    """The score by the number of virtual tokens, one seed."""
    rows = []
    for count in (*NUM_TOKENS, 16):
        setting = Setting(Kind.SOFT_PROMPT, NUM_TOKENS_TASK, num_virtual_tokens=None if count == 16 else count)
        rows.append((count, [str(count), scores(results, setting, seeds=(0,))]))
    return table(("virtual tokens", "right"), [row for _, row in sorted(rows)])


def switch_table(results: Results) -> str:
    """Medians of what switching task takes."""
    found = results.get(SWITCH, {})
    rows = [[name.replace("_", " "), f"{value:.1f}"] for name, value in found.items() if name != "process_cpu_s"]
    return table(("what", "ms"), rows)


def of_seeds(results: Results, setting: Setting, seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """The outcomes of one setting by all seeds."""
    keys = (replace(setting, seed=seed).key for seed in seeds)
    return [results[key] for key in keys if key in results]


def scores(results: Results, setting: Setting, seeds: Sequence[int] = SEEDS, measure: str = "test") -> str:
    """The mean on the test set, with the range where there are several seeds."""
    found = [one[measure] for one in of_seeds(results, setting, seeds)]
    if not found:
        return _NONE
    mean = f"{statistics.mean(found):.3f}"
    return mean if len(found) == 1 else f"{mean} ({min(found):.3f} to {max(found):.3f}, {len(found)} seeds)"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
