"""Plots of what was found so far."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.tuning.report import NAMES, methods_of, of_seeds
from benchmarks.tuning.results import Results

COMPARISON = "tuning-methods.png"


def draw(results: Results, folder: Path) -> None:
    """Write a picture of each method's score on each task, a point for each seed and a bar for their mean."""
    from matplotlib.figure import Figure

    methods = list(methods_of(NAMES[0]))
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(methods)
    for turn, method in enumerate(methods):
        found = {
            index: [one["test"] for one in of_seeds(results, methods_of(name)[method])]
            for index, name in enumerate(NAMES)
        }
        drawn = {index + (turn - len(methods) / 2 + 0.5) * width: tests for index, tests in found.items() if tests}
        bars = axes.bar(list(drawn), [statistics.mean(tests) for tests in drawn.values()], width * 0.9, label=method)
        for (place, tests), bar in zip(drawn.items(), bars, strict=True):
            axes.plot([place] * len(tests), tests, ".", color="black", markersize=3)
            bar.set_alpha(0.7)
    axes.set_xticks(range(len(NAMES)), NAMES)
    axes.set(ylabel="share of texts whose label is the most likely one", ylim=(0, 1))
    axes.legend(ncols=len(methods), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small", frameon=False)
    figure.savefig(folder / COMPARISON, dpi=110)
