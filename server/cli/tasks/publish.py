"""`softprompt task publish`: a folder, or a checkpoint on a hub, as a new version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from server.cli.errors import UsageProblem
from server.cli.output import working
from server.cli.tasks.aliases import Json
from server.cli.tasks.backend import TaskBackend
from server.cli.tasks.checkpoint_folder import read_downloaded, read_publication
from server.cli.tasks.choose_backend import on_tasks
from server.cli.tasks.ensemble_folder import is_ensemble, publish_members
from server.cli.tasks.ensembles import Note, Promote, print_published
from server.cli.tasks.hub import is_hub_id
from server.cli.tasks.publication import Publication


@on_tasks
def publish(
    backend: TaskBackend,
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|ORG/NAME", help="Folder of a PEFT checkpoint, or its id on a hub.", show_default=False
        ),
    ],
    *,
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="REV", help="Branch, tag or commit of ORG/NAME.", show_default="main"),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Name of the task.", show_default="the folder's, or NAME")
    ] = None,
    promote: Promote = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="FILE",
            help="JSON with template, chat_template, labels, stop, add_special_tokens, defaults, pooling, normalize, "
            "problem_type, metrics, note, description.",
            show_default="DIR/manifest.json, if there is one",
        ),
    ] = None,
    task_index: Annotated[
        int | None,
        typer.Option("--task-index", min=0, help="Index of the task in a MULTITASK_PROMPT_TUNING checkpoint."),
    ] = None,
    note: Note = None,
    allow_base_mismatch: Annotated[
        bool, typer.Option("--allow-base-mismatch", help="Accept a checkpoint that names another base model.")
    ] = False,
    json: Json = False,
) -> None:
    """Publish a PEFT checkpoint or an exported ensemble as a new version. A task's first becomes `production`.

    ORG/NAME is downloaded here, not by the server, unless there is a folder of that name.
    """
    folder, on_hub = Path(source), is_hub_id(source)
    if revision is not None and not on_hub:
        raise UsageProblem(f"--revision goes with ORG/NAME on a hub; {source} is a path here")
    limit = backend.max_tensor_bytes
    if not on_hub and manifest is None and is_ensemble(folder):
        with working(f"Publishing {folder}"):
            name = task or folder.resolve().name
            published = publish_members(backend, folder, name, note=note, promote=promote)
    else:
        if on_hub:
            found = read_downloaded(source, revision, manifest, max_tensor_bytes=limit, promote=promote)
        else:
            found = read_publication(folder, manifest, max_tensor_bytes=limit, promote=promote)
        fields = {"task_index": task_index, "note": note}
        publication = _with_options(found, task, fields, allow_base_mismatch=allow_base_mismatch)
        with working(f"Publishing {publication.task}"):
            published = backend.publish(publication)
    print_published(published, as_json=json)


def _with_options(
    found: Publication, task: str | None, fields: Mapping[str, object], *, allow_base_mismatch: bool
) -> Publication:
    """Return a publication with the options in place of what its manifest says."""
    return replace(
        found,
        task=task or found.task,
        allow_base_mismatch=found.allow_base_mismatch or allow_base_mismatch,
        manifest={**found.manifest, **{name: value for name, value in fields.items() if value is not None}},
    )
