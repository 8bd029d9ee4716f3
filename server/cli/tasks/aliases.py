"""`softprompt task alias …`, and the text form of aliases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from prompts_store.records import Alias, AliasTarget
from server.cli.errors import UsageProblem
from server.cli.output import fields_of, print_json
from server.cli.tasks.backend import TaskBackend
from server.cli.tasks.choose_backend import on_tasks

aliases = typer.Typer(no_args_is_help=True, help="Set and delete aliases, the movable names of versions.")

Task = Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.", show_default=False)]
AliasName = Annotated[str, typer.Argument(metavar="ALIAS", help="Name of the alias.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Reason for the move, kept in the history.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_TARGET = re.compile(r"([1-9][0-9]{0,9})(?::([1-9][0-9]{0,6}))?")


@aliases.command("set")
@on_tasks
def set_alias(
    backend: TaskBackend,
    task: Task,
    alias: AliasName,
    targets: Annotated[
        list[str],
        typer.Argument(metavar="VERSION[:WEIGHT]…", help="Versions, such as 4, or 3:90 4:10.", show_default=False),
    ],
    *,
    shadow_of: Annotated[
        str | None,
        typer.Option(
            "--shadow-of", metavar="ALIAS", help="Run the version for comparison on the requests of this alias."
        ),
    ] = None,
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Set an alias to a version, or to several versions that share the callers by weight."""
    moved = backend.set_alias(Alias(task, alias, tuple(map(_read_target, targets)), shadow_of), reason)
    print_alias(moved, as_json=json)


@aliases.command("delete")
@on_tasks
def delete_alias(backend: TaskBackend, task: Task, alias: AliasName, *, reason: Reason = "") -> None:
    """Delete an alias and keep its history."""
    backend.delete_alias(task, alias, reason)
    print(f"deleted {task}@{alias}")


def describe_targets(targets: Sequence[AliasTarget]) -> str | None:
    """Return targets in the form that `alias set` reads, or None if there are none."""
    if len(targets) == 1:
        return str(targets[0].version)
    return " ".join(f"{target.version}:{target.weight}" for target in targets) or None


def alias_json(alias: Alias) -> dict[str, Any]:
    """Return the fields of an alias that `--json` prints."""
    return fields_of(alias, ("task", "alias", "version", "targets", "shadow_of"))


def print_alias(alias: Alias, *, as_json: bool) -> None:
    """Print the versions that an alias names now."""
    if as_json:
        print_json(alias_json(alias))
        return
    shadow = f" (shadow of {alias.shadow_of})" if alias.shadow_of else ""
    print(f"{alias.task}@{alias.alias} -> {describe_targets(alias.targets)}{shadow}")


def _read_target(text: str) -> AliasTarget:
    match = _TARGET.fullmatch(text)
    if match is None:
        raise UsageProblem(f"{text} is neither a version, such as 4, nor a version with its weight, such as 4:10")
    return AliasTarget(int(match[1]), int(match[2] or 1))
