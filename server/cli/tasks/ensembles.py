"""`softprompt task publish-ensemble`: a version that answers by a vote of other versions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from server.cli.output import fields_of, print_json, print_note
from server.cli.tasks.aliases import Json, Task
from server.cli.tasks.backend import TaskBackend
from server.cli.tasks.choose_backend import on_tasks
from server.cli.tasks.publication import EnsemblePublication, PublishResult

Promote = Annotated[bool, typer.Option("--promote", help="Set `production` to it at once.")]
Note = Annotated[str | None, typer.Option("--note", help="Note on the version.")]


@on_tasks
def publish_ensemble(
    backend: TaskBackend,
    task: Task,
    members: Annotated[
        list[int],
        typer.Argument(
            metavar="VERSION…", help="2 to 8 versions; the first one decides a tied vote.", show_default=False
        ),
    ],
    *,
    promote: Promote = False,
    note: Note = None,
    json: Json = False,
) -> None:
    """Publish an ensemble as a new version, which answers by a vote of other versions of the task."""
    manifest = {} if note is None else {"note": note}
    print_published(
        backend.publish_ensemble(EnsemblePublication(task, tuple(members), manifest, promote)), as_json=json
    )


def published_json(published: PublishResult) -> dict[str, Any]:
    """Return the fields of a publication that `--json` prints."""
    return fields_of(published, ("task", "version", "digest", "created"))


def print_published(published: PublishResult, *, as_json: bool) -> None:
    """Print the result of a publication."""
    for note in published.notes:
        print_note(note)
    if as_json:
        print_json(published_json(published))
    else:
        news = "" if published.created else " (nothing new: this version has the same content)"
        print(f"{published.task}@{published.version}{news}")
