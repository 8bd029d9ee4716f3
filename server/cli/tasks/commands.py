"""`softprompt task …`: the commands, each for both backends."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from prompts_store.records import Alias, AliasTarget, TaskRecord
from prompts_store.reports import PurgeReport
from server.cli.errors import FilesProblem, UsageProblem
from server.cli.output import fields_of, one_line, print_error, print_json, print_table, working
from server.cli.tasks.aliases import Json, Reason, Task, alias_json, aliases, describe_targets, print_alias
from server.cli.tasks.backend import PRODUCTION, TaskBackend, VersionSummary
from server.cli.tasks.checkpoint_folder import read_publication, write_version
from server.cli.tasks.choose_backend import on_tasks
from server.cli.tasks.ensemble_folder import is_ensemble, publish_members, write_ensemble
from server.cli.tasks.ensembles import Note, Promote, print_published, publish_ensemble
from server.cli.tasks.import_folder import import_folder
from server.cli.tasks.publication import Publication

tasks = typer.Typer(
    no_args_is_help=True, help="Publish, move and remove soft prompts, on a server or directly on a database."
)

tasks.add_typer(aliases, name="alias")

Version = Annotated[int, typer.Argument(metavar="VERSION", help="Number of the version.", min=1, show_default=False)]

_MOVE_FIELDS = ("alias", "from_targets", "to_targets", "shadow_of", "moved_at", "moved_by", "reason")


@tasks.command("list")
@on_tasks
def list_tasks(backend: TaskBackend, *, json: Json = False) -> None:
    """List the tasks."""
    found = backend.list_tasks()
    if json:
        print_json(list(map(_task_json, found)))
    else:
        rows = [(task.name, task.production_version, task.latest_version, task.description) for task in found]
        print_table(("TASK", "PRODUCTION", "LATEST", "DESCRIPTION"), rows)


@tasks.command("show")
@on_tasks
def show_task(backend: TaskBackend, task: Task, *, json: Json = False) -> None:
    """Show a task with its versions and aliases."""
    found, versions, aliases = backend.get_task(task), backend.list_versions(task), backend.list_aliases(task)
    if json:
        body = {"task": _task_json(found), "aliases": list(map(alias_json, aliases)), "versions": versions}
        print_json(body, backend.time_text)
    else:
        _print_task(found, versions, aliases)


@tasks.command("publish")
@on_tasks
def publish(
    backend: TaskBackend,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a PEFT checkpoint.", show_default=False)],
    *,
    task: Annotated[str | None, typer.Option("--task", help="Name of the task.", show_default="the folder's")] = None,
    promote: Promote = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="FILE",
            help="JSON with template, labels, stop, add_special_tokens, defaults, metrics, note, description.",
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
    """Publish a PEFT checkpoint or an exported ensemble as a new version. A task's first becomes `production`."""
    if manifest is None and is_ensemble(folder):
        with working(f"Publishing {folder}"):
            name = task or folder.resolve().name
            published = publish_members(backend, folder, name, note=note, promote=promote)
    else:
        found = read_publication(folder, manifest, promote=promote)
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


tasks.command("publish-ensemble")(publish_ensemble)


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
        print_json([fields_of(move, _MOVE_FIELDS) for move in moves], backend.time_text)
    else:
        rows = [
            (
                _to_the_second(move.moved_at),
                move.moved_by,
                describe_targets(move.from_targets),
                describe_targets(move.to_targets),
                move.reason,
            )
            for move in moves
        ]
        print_table(("WHEN", "WHO", "FROM", "TO", "REASON"), rows)


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
        _print_purged(report)


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


def _task_json(task: TaskRecord) -> dict[str, Any]:
    return fields_of(task, ("name", "description", "latest_version", "production_version"))


def _to_the_second(moment: datetime) -> str:
    return moment.isoformat()[:19]


def _print_task(task: TaskRecord, versions: Sequence[VersionSummary], aliases: Sequence[Alias]) -> None:
    if task.description:
        print(one_line(task.description))
    rows = [
        (
            version.version,
            ", ".join(_names_of(version.version, aliases)) or None,
            version.peft_type or f"of {' '.join(map(str, version.members))}",
            version.num_virtual_tokens,
            version.digest[:12],
            _to_the_second(version.created_at),
            version.manifest.get("note", ""),
        )
        for version in versions
    ]
    print_table(("VERSION", "ALIASES", "TYPE", "TOKENS", "DIGEST", "CREATED", "NOTE"), rows)


def _names_of(version: int, aliases: Sequence[Alias]) -> Iterator[str]:
    """Yield the aliases of a version, with its share if an alias has several versions."""
    for alias in aliases:
        total = sum(target.weight for target in alias.targets)
        for target in alias.targets:
            if target.version == version:
                share = "" if len(alias.targets) == 1 else f" ({target.weight / total:.0%})"
                yield f"{alias.alias}{share}"


def _print_purged(report: PurgeReport) -> None:
    print(
        f"purged {report.task}: {report.num_versions} versions, {report.num_tensors} tensors "
        f"({report.num_tensor_bytes} bytes), {report.num_alias_moves} alias moves, "
        f"{report.num_jobs} tuning jobs, {report.num_files} files, {report.num_interrupted_runs} interrupted runs"
    )
    if report.num_shared_tensors:
        print(f"{report.num_shared_tensors} tensors stay, because other tasks use the same bytes")
    if not report.log_is_clear:
        print("the database's own log may hold copies until the database overwrites it")
