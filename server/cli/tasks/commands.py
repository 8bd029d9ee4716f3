"""`softprompt task …`: the commands, each for both backends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from prompts_store.records import Alias, AliasTarget
from server.cli.errors import FilesProblem, UsageProblem
from server.cli.output import one_line, print_error, print_json, print_note, working
from server.cli.tasks.aliases import Json, Reason, Task, alias_json, aliases, print_alias
from server.cli.tasks.backend import PRODUCTION, TaskBackend
from server.cli.tasks.checkpoint_folder import write_version
from server.cli.tasks.choose_backend import on_tasks
from server.cli.tasks.convert import convert
from server.cli.tasks.ensemble_folder import write_ensemble
from server.cli.tasks.ensembles import publish_ensemble, published_json
from server.cli.tasks.import_folder import import_folder
from server.cli.tasks.printing import move_json, print_moves, print_purged, print_task, print_tasks, task_json
from server.cli.tasks.publish import publish

tasks = typer.Typer(
    no_args_is_help=True, help="Publish, move and remove soft prompts, on a server or directly on a database."
)

tasks.add_typer(aliases, name="alias")

Version = Annotated[int, typer.Argument(metavar="VERSION", help="Number of the version.", min=1, show_default=False)]


@tasks.command("list")
@on_tasks
def list_tasks(backend: TaskBackend, *, json: Json = False) -> None:
    """List the tasks."""
    found = backend.list_tasks()
    if json:
        print_json(list(map(task_json, found)))
    else:
        print_tasks(found)


@tasks.command("show")
@on_tasks
def show_task(backend: TaskBackend, task: Task, *, json: Json = False) -> None:
    """Show a task with its versions and aliases."""
    found, versions, aliases = backend.get_task(task), backend.list_versions(task), backend.list_aliases(task)
    if json:
        body = {"task": task_json(found), "aliases": list(map(alias_json, aliases)), "versions": versions}
        print_json(body, backend.time_text)
    else:
        print_task(found, versions, aliases)


tasks.command("publish")(publish)
tasks.command("publish-ensemble")(publish_ensemble)
tasks.command("convert")(convert)


@tasks.command("import")
@on_tasks
def import_tasks(
    backend: TaskBackend,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of PEFT checkpoints.", show_default=False)],
    *,
    promote: Annotated[bool, typer.Option("--promote", help="Set `production` of each task at once.")] = False,
    json: Json = False,
) -> None:
    """Publish every checkpoint folder in DIR as the task of its name. A refused folder does not stop the rest."""
    published, refused = import_folder(backend, folder, promote=promote)
    for one in published:
        for note in one.notes:
            print_note(f"{one.task}: {note}")
    if json:
        print_json({"published": list(map(published_json, published)), "refused": refused})
    else:
        for one in published:
            print(f"{one.task}@{one.version}{'' if one.created else ' (nothing new)'}")
    if refused:
        for task, reason in refused.items():
            print_error(f"{task}: {reason}")
        raise FilesProblem(f"{len(refused)} of {len(published) + len(refused)} checkpoints were refused")


@tasks.command("promote")
@on_tasks
def promote_version(
    backend: TaskBackend, task: Task, version: Version, *, reason: Reason = "", json: Json = False
) -> None:
    """Set `production` to a version."""
    moved = backend.set_alias(Alias(task, PRODUCTION, (AliasTarget(version),), shadow_of=None), reason)
    print_alias(moved, as_json=json)


@tasks.command("rollback")
@on_tasks
def rollback(
    backend: TaskBackend,
    task: Task,
    alias: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Alias; by default `production`.")] = PRODUCTION,
    *,
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Undo the last move of an alias."""
    print_alias(backend.rollback(task, alias, reason), as_json=json)


@tasks.command("history")
@on_tasks
def history(
    backend: TaskBackend,
    task: Task,
    alias: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Alias; by default `production`.")] = PRODUCTION,
    *,
    json: Json = False,
) -> None:
    """Show the latest moves of an alias, newest first, with time, actor and reason."""
    moves = backend.history(task, alias)
    if json:
        print_json(list(map(move_json, moves)), backend.time_text)
    else:
        print_moves(moves)


@tasks.command("retire")
@on_tasks
def retire(backend: TaskBackend, task: Task, version: Version) -> None:
    """Retire a version that no alias and no ensemble names. Its number is never used again."""
    backend.retire(task, version)
    print(f"retired {task}@{version}")


@tasks.command("delete")
@on_tasks
def delete(
    backend: TaskBackend,
    task: Task,
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove all its data for good, also of a task deleted earlier.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: Json = False,
) -> None:
    """Delete a task with all its versions and aliases. Its numbers and tensors stay stored, unless --purge is given.

    Its tuning jobs that have not ended fail. A purge removes them.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageProblem(
                "this deletes a task with all its versions; without a terminal to confirm it, pass --yes"
            )
        typer.confirm(f"{'Purge' if purge else 'Delete'} {one_line(task)} and all its versions?", abort=True)
    if not purge:
        backend.delete(task)
        print(f"deleted {task}")
        return
    report = backend.purge(task)
    if json:
        print_json(report)
    else:
        print_purged(report)


@tasks.command("export")
@on_tasks
def export(
    backend: TaskBackend,
    reference: Annotated[str, typer.Argument(help="`task`, `task@3` or `task@alias`.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.", show_default=False)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write a version as a PEFT checkpoint, with a manifest.json that `publish` reads."""
    task = reference.partition("@")[0]
    with working(f"Exporting {one_line(reference)}"):
        version = backend.get_version(reference)
        if version.members:
            write_ensemble(backend, folder, task, version, overwrite=force)
        else:
            files = backend.read_files(task, version.version)
            write_version(folder, files, version.manifest, overwrite=force)
    print(f"{task}@{version.version} -> {folder}")
