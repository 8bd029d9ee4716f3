"""`softprompt key …` and `softprompt audit`: who may use the server, and who changed what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from server.cli.errors import UsageProblem
from server.cli.keys.backend import open_keys
from server.cli.option_groups import takes_options
from server.cli.output import print_json, print_table
from server.cli.where import LocationOptions

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys: on a server, or in its database.")

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int | None, typer.Option(min=1, show_default=False)]


@keys.command("create")
@takes_options
def create(
    name: Name,
    *,
    scope: Annotated[
        list[str], typer.Option("--scope", help="infer, tasks:read, tasks:write, tune or admin (repeatable).")
    ],
    task: Annotated[
        list[str] | None, typer.Option("--task", help="A task that the key is held to (repeatable).")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="30m, 12h, 90d, or ISO 8601 with a time zone.")
    ] = None,
    best_priority: Annotated[
        int, typer.Option("--best-priority", help="Lowest priority number that its requests may have.")
    ] = 0,
    max_requests_per_minute: Limit = None,
    max_tokens_per_minute: Limit = None,
    max_concurrent: Limit = None,
    salt: Annotated[
        str | None, typer.Option("--salt", help="Keys with the same salt share cached text.", show_default=False)
    ] = None,
    where: LocationOptions,
    json: Json = False,
) -> None:
    """Make a key and print it: it cannot be had again."""
    from prompts_store.keys import KeyGrant, KeyLimits

    grant = KeyGrant(
        name=name,
        scopes=frozenset(scope),
        tasks=tuple(task) if task else None,
        expires_at=None if expires is None else _time(expires),
        best_priority=best_priority,
        limits=KeyLimits(max_requests_per_minute, max_tokens_per_minute, max_concurrent),
        salt=salt,
    )
    with open_keys(where) as backend:
        created = backend.create(grant)
    if json:
        print_json(created)
    else:
        print(created["key"])


@keys.command("list")
@takes_options
def list_keys(
    *,
    where: LocationOptions,
    json: Json = False,
) -> None:
    """List every key by name, revoked ones too. The keys themselves are kept nowhere."""
    with open_keys(where) as backend:
        found = backend.list()
    if json:
        print_json(found)
    else:
        print_table(
            ("name", "state", "expires", "scopes", "tasks"),
            [
                (key["name"], _state(key), key["expires_at"], *map(_words, (key["scopes"], key["tasks"])))
                for key in found
            ],
        )


@keys.command("revoke")
@takes_options
def revoke(
    name: Name,
    *,
    where: LocationOptions,
) -> None:
    """Revoke a key for good. Every server refuses it within a second."""
    with open_keys(where) as backend:
        backend.revoke(name)
    print(f"revoked {name}")


@takes_options
def audit(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many changes.")] = 50,
    where: LocationOptions,
    json: Json = False,
) -> None:
    """Show the latest changes of tasks, versions, aliases and keys, newest first: when, who, what."""
    with open_keys(where) as backend:
        found = backend.audit(limit)
    if json:
        print_json(found)
    else:
        columns = ("id", "changed_at", "changed_by", "kind", "task", "version", "alias", "key")
        print_table(columns, [[entry[column] for column in columns] for entry in found])


def _time(text: str) -> datetime:
    match = _DURATION.fullmatch(text)
    if match:
        return datetime.now(UTC) + timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageProblem("--expires is a duration, such as 90d, or a time in ISO 8601") from error
    if moment.utcoffset() is None:
        raise UsageProblem("--expires needs a time zone, such as 2030-01-01T00:00Z")
    return moment


def _state(key: Mapping[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    expires_at = key["expires_at"]
    is_over = expires_at is not None and datetime.fromisoformat(expires_at) <= datetime.now(UTC)
    return "expired" if is_over else "live"


def _words(words: list[str] | None) -> str | None:
    return None if words is None else " ".join(words)
