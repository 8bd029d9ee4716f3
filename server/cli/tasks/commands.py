"""`softprompt task …`: every command, written once for both backends."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from server.cli.errors import FilesProblem, UsageProblem
from server.cli.output import one_line, print_error, print_json, print_table, working
from server.cli.tasks.aliases import Json, Reason, Task, aliases, describe_targets, print_alias
from server.cli.tasks.backend import PRODUCTION, TaskBackend
from server.cli.tasks.checkpoint_folder import read_publication, write_version
from server.cli.tasks.choose_backend import on_tasks
from server.cli.tasks.ensemble_folder import is_ensemble, publish_members, write_ensemble
from server.cli.tasks.ensembles import print_published, publish_ensemble
from server.cli.tasks.import_folder import import_folder
from server.cli.tasks.views import AliasPlace, AliasView, PurgedView, TargetView, TaskView, VersionView

tasks = typer.Typer(
    no_args_is_help=True, help="Publish, move and remove soft prompts, on a server or straight on a database."
)

tasks.add_typer(aliases, name="alias")

Version = Annotated[int, typer.Argument(metavar="VERSION", help="The version's number.", min=1, show_default=False)]


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
    """Publish a PEFT checkpoint, or an exported ensemble, as a new version. A task's first becomes `production`."""
    if manifest is None and is_ensemble(folder):
        with working(f"Publishing {folder}"):
            name = task or folder.resolve().name
            published = publish_members(backend, folder, name, note=note, promote=promote)
    else:
        given = {"task_index": task_index, "note": note}
        found = read_publication(folder, manifest, max_tensor_bytes=backend.max_tensor_bytes, promote=promote)
        publication = replace(
            found,
            task=task or found.task,
            allow_base_mismatch=found.allow_base_mismatch or allow_base_mismatch,
            manifest={**found.manifest, **{key: value for key, value in given.items() if value is not None}},
        )
        with working(f"Publishing {publication.task}"):
            published = backend.publish(publication)
    print_published(published, as_json=json)


tasks.command("publish-ensemble")(publish_ensemble)


@tasks.command("import")
@on_tasks
def import_tasks(
    backend: TaskBackend,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of PEFT checkpoints.", show_default=False)],
    *,
    promote: Annotated[bool, typer.Option("--promote", help="Make each `production` at once.")] = False,
    json: Json = False,
) -> None:
    """Publish every checkpoint folder in DIR as the task of its name. One that is refused does not stop the others."""
    published, refused = import_folder(backend, folder, promote=promote)
    if json:
        print_json({"published": published, "refused": refused})
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
    """Make a version `production`, whatever `production` was before."""
    place = AliasPlace(task, PRODUCTION, (TargetView(version, 1),), reason=reason)
    print_alias(backend.set_alias(place), as_json=json)


@tasks.command("rollback")
@on_tasks
def rollback(
    backend: TaskBackend,
    task: Task,
    alias: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Another alias than `production`.")] = PRODUCTION,
    *,
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Point an alias back at what it named before."""
    print_alias(backend.rollback(task, alias, reason), as_json=json)


@tasks.command("history")
@on_tasks
def history(
    backend: TaskBackend,
    task: Task,
    alias: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Another alias than `production`.")] = PRODUCTION,
    *,
    json: Json = False,
) -> None:
    """Show the latest moves of an alias, newest first: who, when and why."""
    moves = backend.history(task, alias)
    if json:
        print_json(moves)
    else:
        rows = [
            (move.moved_at[:19], move.moved_by, describe_targets(move.from_targets), describe_targets(move.to_targets),
             move.reason)
            for move in moves
        ]  # fmt: skip
        print_table(("WHEN", "WHO", "FROM", "TO", "REASON"), rows)


@tasks.command("retire")
@on_tasks
def retire(backend: TaskBackend, task: Task, version: Version) -> None:
    """Retire a version. Refused while an alias or an ensemble names it; its number is never used again."""
    backend.retire(task, version)
    print(f"retired {task}@{version}")


@tasks.command("delete")
@on_tasks
def delete(
    backend: TaskBackend,
    task: Task,
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove all it ever held for good, also of a task deleted before.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a task with all its versions and aliases. Deleted numbers and tensors stay known; purged ones are gone.

    Its tuning jobs that have not ended fail; a purge removes them.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageProblem("deleting a task takes all its versions: say --yes where nobody can be asked")
        typer.confirm(f"{'Purge' if purge else 'Delete'} {one_line(task)} and all its versions?", abort=True)
    if not purge:
        backend.delete(task)
        print(f"deleted {task}")
        return
    report = backend.purge(task)
    if json:
        print_json(report)
    else:
        _print_purged(report)


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
        if version.members:
            write_ensemble(backend, folder, task, version, overwrite=force)
        else:
            files = backend.read_files(task, version.version)
            write_version(folder, files, version.manifest, overwrite=force)
    print(f"{task}@{version.version} -> {folder}")


def _print_task(task: TaskView, versions: Sequence[VersionView], aliases: Sequence[AliasView]) -> None:
    if task.description:
        print(one_line(task.description))
    rows = [
        (
            version.version,
            ", ".join(_names_of(version.version, aliases)) or None,
            version.peft_type or f"of {' '.join(map(str, version.members))}",
            version.num_virtual_tokens,
            version.digest[:12],
            version.created_at[:19],
            version.manifest.get("note", ""),
        )
        for version in versions
    ]
    print_table(("VERSION", "ALIASES", "TYPE", "TOKENS", "DIGEST", "CREATED", "NOTE"), rows)


def _names_of(version: int, aliases: Sequence[AliasView]) -> Iterator[str]:
    """Yield the aliases of a version, with its share where an alias has several."""
    for alias in aliases:
        total = sum(target.weight for target in alias.targets)
        for target in alias.targets:
            if target.version == version:
                share = "" if len(alias.targets) == 1 else f" ({target.weight / total:.0%})"
                yield f"{alias.alias}{share}"


def _print_purged(report: PurgedView) -> None:
    print(
        f"purged {report.task}: {report.num_versions} versions, {report.num_tensors} tensors "
        f"({report.num_tensor_bytes} bytes), {report.num_alias_moves} alias moves, "
        f"{report.num_jobs} tuning jobs, {report.num_files} files, {report.num_interrupted_runs} interrupted runs"
    )
    if report.num_shared_tensors:
        print(f"{report.num_shared_tensors} tensors stay: other tasks have the same bytes")
    if not report.log_is_clear:
        print("the database's own log may hold copies until the database overwrites it")
