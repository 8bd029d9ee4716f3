"""The options of `softprompt key create`: the rights and limits of the key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.errors import UsageProblem

if TYPE_CHECKING:
    from prompts_store.keys import KeyGrant

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")


def _limit(text: str) -> Any:
    return typer.Option(min=1, help=f"{text}; by default the server's limit.", show_default=False)


@dataclass(frozen=True, slots=True)
class GrantOptions:
    """The scopes, tasks, expiry and limits of a new key."""

    scope: Annotated[
        list[str], typer.Option("--scope", help="Scope: infer, tasks:read, tasks:write, tune or admin (repeatable).")
    ]
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Task that the key may use; by default every task (repeatable).")
    ] = None
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="Expiry: 30m, 12h, 90d, or ISO 8601 with a time zone."),
    ] = None
    best_priority: Annotated[
        int, typer.Option("--best-priority", help="Lowest priority number that its requests may have.")
    ] = 0
    max_requests_per_minute: Annotated[int | None, _limit("Maximum requests per minute")] = None
    max_tokens_per_minute: Annotated[int | None, _limit("Maximum tokens per minute")] = None
    max_concurrent: Annotated[int | None, _limit("Maximum concurrent requests")] = None
    salt: Annotated[
        str | None,
        typer.Option("--salt", help="Cache salt; keys with the same salt share cached text.", show_default=False),
    ] = None

    def grant(self, name: str) -> KeyGrant:
        """Return the grant of the key of this name. Raises UsageProblem."""
        from prompts_store.keys import KeyGrant, KeyLimits

        return KeyGrant(
            name=name,
            scopes=frozenset(self.scope),
            tasks=tuple(self.task) if self.task else None,
            expires_at=None if self.expires is None else _time(self.expires),
            best_priority=self.best_priority,
            limits=KeyLimits(self.max_requests_per_minute, self.max_tokens_per_minute, self.max_concurrent),
            salt=self.salt,
        )


def _time(text: str) -> datetime:
    match = _DURATION.fullmatch(text)
    if match:
        return datetime.now(UTC) + timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageProblem("--expires must be a duration, such as 90d, or a time in ISO 8601") from error
    if moment.utcoffset() is None:
        raise UsageProblem("--expires needs a time zone, such as 2030-01-01T00:00Z")
    return moment
