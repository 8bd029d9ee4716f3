"""Plots, made from records alone. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import comparison, growth
from benchmarks.records import Record
from benchmarks.spread import Spread

_CURVES = (
    (growth.CONCURRENCY, "requests at once", "tokens/s", "throughput-concurrency.png", True),
    (growth.TASKS, "tasks, 32 requests at once", "tokens/s", "throughput-tasks.png", True),
    (growth.VIRTUAL, "virtual tokens, 32 requests at once", "tokens/s", "throughput-virtual-tokens.png", False),
    (
        growth.FIRST_TOKEN,
        "virtual tokens, one request",
        "ms to the first token",
        "first-token-virtual-tokens.png",
        False,
    ),
    (growth.CONTEXT, "text tokens before, 8 sequences", "ms a decode step", "step-context.png", False),
)


def draw(records: Sequence[Record], folder: Path) -> None:
    """Write one picture a curve, and the distribution of times to the first token."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("plots need matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    for measure, across, up, name, is_logarithmic in _CURVES:
        own = [record for record in records if record.measure == measure]
        if own:
            _curve(own, across, up, folder / name, is_logarithmic)
    _first_tokens([record for record in records if record.measure == comparison.MEASURE], folder)


def _curve(records: Sequence[Record], across: str, up: str, path: Path, is_logarithmic: bool) -> None:
    """A line for each model and number of threads: medians, with bars from the lowest to the highest."""
    figure, axes = _axes(across, up)
    for model, threads in sorted({(record.model, record.threads) for record in records}):
        own = [record for record in records if (record.model, record.threads) == (model, threads)]
        places = sorted({record.x for record in own if record.x is not None})
        spreads = [spread for x in places if (spread := Spread.of([each.value for each in own if each.x == x]))]
        medians = [spread.median for spread in spreads]
        bars = [[each.median - each.low for each in spreads], [each.high - each.median for each in spreads]]
        label = f"{model}, {threads} thread{'s' if threads > 1 else ''}"
        axes.errorbar(places, medians, yerr=bars, marker="o", capsize=3, label=label)
    if is_logarithmic:
        axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    _save(figure, axes, path)


def _first_tokens(records: Sequence[Record], folder: Path) -> None:
    """The share of requests whose first token has come, over time; all were sent at once."""
    figure, axes = _axes("seconds to the first token, all requests sent at once", "share of requests")
    own = [record for record in records if record.model != "demo" and record.notes.get("first token s")]
    for subject, threads in sorted({(record.subject, record.threads) for record in own}):
        of_it = [record for record in own if (record.subject, record.threads) == (subject, threads)]
        times = sorted(time for record in of_it for time in record.notes["first token s"])
        shares = [(place + 1) / len(times) for place in range(len(times))]
        axes.step(times, shares, where="post", label=f"{subject}, {threads} thread{'s' if threads > 1 else ''}")
    if own:
        _save(figure, axes, folder / "first-token-distribution.png")


def _axes(across: str, up: str) -> tuple[Any, Any]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.8), layout="constrained")
    axes.set(xlabel=across, ylabel=up)
    axes.grid(True, alpha=0.3)
    return figure, axes


def _save(figure: Any, axes: Any, path: Path) -> None:
    from matplotlib import pyplot

    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
