"""The text of the events of a run that a person should read."""

from __future__ import annotations

from collections.abc import Sequence

from server.tuning.events import Extended, Finished, RateChosen, RateTried, TuningEvent, Validated, Warned


def event_lines(events: Sequence[TuningEvent]) -> list[str]:
    """Return a line per rate, validation, warning, extension and early end."""
    lines = []
    for event in events:
        match event:
            case RateTried():
                found = "diverges" if event.loss is None else f"validation loss {event.loss:.3f}"
                lines.append(f"learning rate {event.learning_rate:.3g}: {found}")
            case RateChosen():
                lines.append(f"learning rate {event.learning_rate:.3g}")
            case Validated():
                best = ", the best so far" if event.is_best else ""
                lines.append(
                    f"step {event.step}: validation loss {event.loss:.3f}, exact match {event.exact_match:.3f}{best}"
                )
            case Warned():
                lines.append(f"warning at step {event.step}: {event.message}")
            case Extended():
                lines.append(f"still improving after step {event.step}: goes on to step {event.num_steps}")
            case Finished(reason="early_stop"):
                lines.append(f"stopped early after step {event.step}: step {event.best_step} is still the best")
    return lines
