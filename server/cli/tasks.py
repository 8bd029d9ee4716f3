"""`softprompt task …`: every command, written once for both backends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from server.cli.backend import TaskBackend
from server.cli.checkpoint_folder import read_checkpoint, read_manifest, write_version
from server.cli.errors import UsageProblem
from server.cli.output import one_line, print_json, print_table, working
from server.cli.target import on_tasks
from server.cli.views import AliasView, Publication, TaskView, VersionView

tasks = typer.Typer(
    no_args_is_help=True, help="Publish, move and remove soft prompts, on a server or straight on a database."
)

Task = Annotated[str, typer.Argument(metavar="TASK", help="The task's name.", show_default=False)]
Version = Annotated[int, typer.Argument(metavar="VERSION", help="The version's number.", min=1, show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@tasks.command("list")
@on_tasks
def list_tasks(backend: TaskBackend, *, json: Json = False) -> None:
    """List the tasks."""
    found = backend.list_tasks()
    if json:
        print_json(found)
    else:
        rows = [(task.name, task.production_version, task.latest_version, task.description) for task in found]
        print_table(("TASK", "PRODUCTION", "LATEST", "DESCRIPTION"), rows)


@tasks.command("show")
@on_tasks
def show_task(backend: TaskBackend, task: Task, *, json: Json = False) -> None:
    """Show a task with its versions and aliases."""
    found, versions, aliases = backend.get_task(task), backend.list_versions(task), backend.list_aliases(task)
    if json:
        print_json({"task": found, "aliases": aliases, "versions": versions})
    else:
        _print_task(found, versions, aliases)


@tasks.command("publish")
@on_tasks
def publish(
    backend: TaskBackend,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A PEFT checkpoint.", show_default=False)],
    *,
    task: Annotated[str | None, typer.Option("--task", help="The task's name.", show_default="the folder's")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it `production` at once.")] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="FILE",
            help="JSON: template, labels, stop, add_special_tokens, defaults, metrics, note, description.",
            show_default="DIR/manifest.json, if there is one",
        ),
    ] = None,
    task_index: Annotated[
        int | None, typer.Option("--task-index", min=0, help="Which task of a MULTITASK_PROMPT_TUNING checkpoint.")
    ] = None,
    note: Annotated[str | None, typer.Option("--note", help="A line for those who come after.")] = None,
    allow_base_mismatch: Annotated[
        bool, typer.Option("--allow-base-mismatch", help="Accept a checkpoint that names another base model.")
    ] = False,
    json: Json = False,
) -> None:
    """Publish a PEFT checkpoint as a new version. A task's first version becomes `production`."""
    contents = read_manifest(folder, manifest)
    given = {"task_index": task_index, "note": note}
    publication = Publication(
        task=task or folder.resolve().name,
        description=contents.pop("description", ""),
        files=read_checkpoint(folder),
        allow_base_mismatch=contents.pop("allow_base_mismatch", False) or allow_base_mismatch,
        promote=promote,
        manifest=contents | {key: value for key, value in given.items() if value is not None},
    )
    with working(f"Publishing {publication.task}"):
        published = backend.publish(publication)
    if json:
        print_json(published)
    else:
        news = "" if published.created else " (nothing new: this version has the same content)"
        print(f"{published.task}@{published.version}{news}")


@tasks.command("promote")
@on_tasks
def promote_version(backend: TaskBackend, task: Task, version: Version, *, json: Json = False) -> None:
    """Make a version `production`, whatever `production` was before."""
    _print_alias(backend.promote(task, version), as_json=json)


@tasks.command("rollback")
@on_tasks
def rollback(backend: TaskBackend, task: Task, *, json: Json = False) -> None:
    """Point `production` back at the version it named before."""
    _print_alias(backend.rollback(task), as_json=json)


@tasks.command("retire")
@on_tasks
def retire(backend: TaskBackend, task: Task, version: Version) -> None:
    """Retire a version. Refused while an alias names it; its number is never used again."""
    backend.retire(task, version)
    print(f"retired {task}@{version}")


@tasks.command("delete")
@on_tasks
def delete(
    backend: TaskBackend, task: Task, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a task with all its versions and aliases."""
    if not yes:
        if not sys.stdin.isatty():
            raise UsageProblem("deleting a task takes all its versions: say --yes where nobody can be asked")
        typer.confirm(f"Delete {one_line(task)} and all its versions?", abort=True)
    backend.delete(task)
    print(f"deleted {task}")


@tasks.command("export")
@on_tasks
def export(
    backend: TaskBackend,
    reference: Annotated[str, typer.Argument(help="`task`, `task@3` or `task@alias`.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.", show_default=False)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a version as a PEFT checkpoint, with a manifest.json that `publish` reads again."""
    task = reference.partition("@")[0]
    with working(f"Exporting {one_line(reference)}"):
        version = backend.get_version(reference)
        files = backend.read_files(task, version.version)
    write_version(folder, files, version.manifest, overwrite=force)
    print(f"{task}@{version.version} -> {folder}")


def _print_task(task: TaskView, versions: Sequence[VersionView], aliases: Sequence[AliasView]) -> None:
    if task.description:
        print(one_line(task.description))
    rows = [
        (
            version.version,
            ", ".join(alias.alias for alias in aliases if alias.version == version.version) or None,
            version.peft_type,
            version.num_virtual_tokens,
            version.digest[:12],
            version.created_at[:19],
            version.manifest.get("note", ""),
        )
        for version in versions
    ]
    print_table(("VERSION", "ALIASES", "TYPE", "TOKENS", "DIGEST", "CREATED", "NOTE"), rows)


def _print_alias(alias: AliasView, *, as_json: bool) -> None:
    if as_json:
        print_json(alias)
    else:
        print(f"{alias.task}@{alias.alias} -> {alias.version}")
