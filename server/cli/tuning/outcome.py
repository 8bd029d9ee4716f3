"""The result of a run, on this machine or on a server, and its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from server.cli.errors import FilesProblem
from server.cli.output import one_line, print_json
from server.cli.tuning.evaluate import print_scores
from server.tuning.scores import Scores

PLOT = "tuning.png"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run. `version` and `digest` are None if nothing was published."""

    task: str
    version: int | None
    digest: str | None
    promoted: bool
    scores: tuple[Scores, ...]
    metrics: Mapping[str, Any]
    num_steps: int
    folder: str | None
    news: tuple[str, ...]


def print_outcome(outcome: Outcome, seconds: float, *, as_json: bool) -> None:
    """Print an outcome on standard output, with the duration in seconds."""
    if as_json:
        print_json({**asdict(outcome), "seconds": round(seconds, 1)})
        return
    print_scores(outcome.scores)
    for line in outcome.news:
        print(one_line(line))
    print(f"{outcome.num_steps} steps in {seconds:.0f} s")


def gate_news(passed: bool, reason: str) -> str:
    """Return the line for the decision of the gate."""
    return f"the gate {'opens' if passed else 'stays shut'}: {reason}"


def version_news(task: str, version: int, *, created: bool, promoted: bool) -> str:
    """Return the line for the published version."""
    return f"{task}@{version}{', in production' if promoted else ''}{'' if created else ' (nothing new)'}"


def write_plot(folder: Path, picture: bytes) -> None:
    """Write the plot into the folder of a saved version. Raises FilesProblem."""
    try:
        (folder / PLOT).write_bytes(picture)
    except OSError as error:
        raise FilesProblem(f"cannot write {folder / PLOT}: {error.strerror}") from error
