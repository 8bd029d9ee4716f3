"""The caller of a request and their rights."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from prompts_store.keys import SCOPES, KeyLimits, KeyRecord
from server.api.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key, or anybody on a server without keys.

    `actor` is their name in the store's records. `tasks` None allows every task and the base model. `salt` isolates
    their cached text. A limit that is None takes the server's default; `limits` None means no limits at all.
    """

    actor: str
    scopes: frozenset[str] = SCOPES
    tasks: frozenset[str] | None = None
    salt: bytes = b""
    best_priority: int = 0
    limits: KeyLimits | None = field(default_factory=KeyLimits)
    expires_at: datetime | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the caller sees what belongs to other keys."""
        return "admin" in self.scopes

    def check_scope(self, *scopes: str) -> None:
        """Raise `Forbidden` unless the caller has one of these scopes, or `admin`, which has all."""
        if not self.scopes & {*scopes, "admin"}:
            names = " or ".join(f"'{scope}'" for scope in scopes)
            raise Forbidden(f"the API key lacks the scope {names}", code="insufficient_scope")

    def check_task(self, task: str) -> None:
        """Raise `Forbidden` for a task that the key does not allow, whether or not it exists."""
        if self.tasks is not None and task not in self.tasks:
            raise Forbidden("the API key does not allow this task", code="task_not_allowed")

    def check_all_tasks(self) -> None:
        """Raise `Forbidden` if the key is restricted to tasks: the route shows every task."""
        if self.tasks is not None:
            raise Forbidden(
                "this needs a key for all tasks; the API key is restricted to some", code="task_not_allowed"
            )

    def check_base_model(self) -> None:
        """Raise `Forbidden` if the key is restricted to tasks: the bare base model is not a task."""
        if self.tasks is not None:
            raise Forbidden(
                "the API key is restricted to tasks, so it cannot use the base model", code="task_not_allowed"
            )


ANYBODY = Caller("anonymous", best_priority=-100)
"""The caller on a server without keys. Only the server's own limits apply."""

BOOTSTRAP = Caller("admin-key", salt=b"admin-key", best_priority=-100, limits=None)
"""The holder of the server's admin key. It has no limits, so that an operator always has access."""


def caller_of(record: KeyRecord) -> Caller:
    """The holder of a stored key."""
    grant = record.grant
    return Caller(
        actor=f"key:{grant.name}",
        scopes=grant.scopes,
        tasks=None if grant.tasks is None else frozenset(grant.tasks),
        salt=f"key {grant.name}".encode() if grant.salt is None else f"salt {grant.salt}".encode(),
        best_priority=grant.best_priority,
        limits=grant.limits,
        expires_at=grant.expires_at,
    )


async def _caller(request: Request) -> Caller:
    """The caller that the route's scope check identified. A public route has none."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
