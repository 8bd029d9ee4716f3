"""`softprompt task publish-ensemble`: versions of a task that answer together."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.output import print_json
from server.cli.tasks.aliases import Json, Task
from server.cli.tasks.backend import TaskBackend
from server.cli.tasks.choose_backend import on_tasks
from server.cli.tasks.publication import EnsemblePublication, PublishResult


@on_tasks
def publish_ensemble(
    backend: TaskBackend,
    task: Task,
    members: Annotated[
        list[int],
        typer.Argument(metavar="VERSION…", help="2 to 8 versions; the first decides a tied vote.", show_default=False),
    ],
    *,
    promote: Annotated[bool, typer.Option("--promote", help="Make it `production` at once.")] = False,
    note: Annotated[str | None, typer.Option("--note", help="A line for those who come after.")] = None,
    json: Json = False,
) -> None:
    """Publish an ensemble: a version by which other versions of the task answer together, by vote."""
    manifest = {} if note is None else {"note": note}
    print_published(
        backend.publish_ensemble(EnsemblePublication(task, tuple(members), manifest, promote)), as_json=json
    )


def print_published(published: PublishResult, *, as_json: bool) -> None:
    """Print what became of a publication."""
    if as_json:
        print_json(published)
    else:
        news = "" if published.created else " (nothing new: this version has the same content)"
        print(f"{published.task}@{published.version}{news}")
