"""Plot of a run's curves."""

from __future__ import annotations

import io
from collections.abc import Sequence

from server.tuning.errors import PlotsUnavailable
from server.tuning.events import StepDone, TuningEvent, Validated


def draw_plot(history: Sequence[TuningEvent], title: str = "") -> bytes:
    """Draw loss, validation score, gradient norm, update ratio and distance by step, as a PNG.

    Raises `PlotsUnavailable` if matplotlib is not installed, or fails.
    """
    try:
        return _draw(history, title)
    except ImportError as error:
        raise PlotsUnavailable("plots need matplotlib: install softprompt-server[plots]") from error
    except Exception as error:  # the boundary to matplotlib, which documents none of its exceptions
        raise PlotsUnavailable("matplotlib could not draw it") from error


def _draw(history: Sequence[TuningEvent], title: str) -> bytes:
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window

    steps = [event for event in history if isinstance(event, StepDone)]
    validations = [event for event in history if isinstance(event, Validated)]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    if title:
        figure.suptitle(title.replace("$", r"\$"), fontsize=11)
    loss, score, change = figure.subplots(1, 3)
    numbers, validated = [step.step for step in steps], [event.step for event in validations]
    loss.plot(numbers, [step.loss for step in steps], linewidth=1, alpha=0.6, label="training")
    loss.plot(validated, [event.loss for event in validations], marker="o", markersize=3, label="validation")
    loss.set(title="loss, nats per token", yscale="log", xlabel="step")
    score.plot(validated, [event.exact_match for event in validations], marker="o", markersize=3, label="exact match")
    score.plot(validated, [event.token_accuracy for event in validations], linewidth=1, label="tokens right")
    score.set(title="validation", ylim=(-0.03, 1.03), xlabel="step")
    change.plot(numbers, [step.update_ratio for step in steps], linewidth=1, label="update / weight")
    change.plot(numbers, [step.distance for step in steps], linewidth=1, label="distance from start")
    change.plot(numbers, [step.grad_norm for step in steps], linewidth=1, alpha=0.6, label="gradient norm")
    change.set(title="virtual tokens", yscale="log", xlabel="step")
    for axes in (loss, score, change):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
