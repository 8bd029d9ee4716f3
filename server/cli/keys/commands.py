"""`softprompt key …` and `softprompt audit`: the API keys, and the log of changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.keys.options import GrantOptions
from server.cli.option_groups import takes_options
from server.cli.output import print_json, print_table
from server.cli.where import LocationOptions

if TYPE_CHECKING:
    from server.cli.keys.backend import KeyBackend

keys = typer.Typer(
    no_args_is_help=True, help="Create, list and revoke API keys, on a server or directly in its database."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys.command("create")
@takes_options
def create(name: Name, *, grant: GrantOptions, where: LocationOptions, json: Json = False) -> None:
    """Create a key and print its secret, which cannot be shown again."""
    with _open(where) as backend:
        created = backend.create(grant.grant(name))
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
    """List every key by name, also revoked keys. Secrets are not stored and not shown."""
    with _open(where) as backend:
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
    """Revoke a key permanently. Every server rejects it within a second."""
    with _open(where) as backend:
        backend.revoke(name)
    print(f"revoked {name}")


@takes_options
def audit(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number of changes.")] = 50,
    where: LocationOptions,
    json: Json = False,
) -> None:
    """Show the latest changes of tasks, versions, aliases and keys, newest first."""
    with _open(where) as backend:
        found = backend.audit(limit)
    if json:
        print_json(found)
    else:
        columns = ("id", "changed_at", "changed_by", "kind", "task", "version", "alias", "key")
        print_table(columns, [[entry[column] for column in columns] for entry in found])


@contextmanager
def _open(where: LocationOptions) -> Iterator[KeyBackend]:
    from server.cli.keys.backend import open_keys  # httpx, which no other command needs before it runs

    with open_keys(where) as backend:
        yield backend


def _state(key: Mapping[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    expires_at = key["expires_at"]
    is_over = expires_at is not None and datetime.fromisoformat(expires_at) <= datetime.now(UTC)
    return "expired" if is_over else "live"


def _words(words: list[str] | None) -> str | None:
    return None if words is None else " ".join(words)
