"""Who makes a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from prompts_store.keys import SCOPES, KeyLimits, KeyRecord
from server.api.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Caller:
    """The bearer of a key, or anybody on a server without keys.

    `actor` is who they are in the store's records. `tasks` None allows every task and the base model. `salt` keeps
    their cached text apart. What `limits` leave out is the server's default; without any, nothing is limited.
    """

    actor: str
    scopes: frozenset[str] = SCOPES
    tasks: frozenset[str] | None = None
    salt: bytes = b""
    best_priority: int = 0
    limits: KeyLimits | None = field(default_factory=KeyLimits)

    def check_scope(self, scope: str) -> None:
        """Raise `Forbidden` unless the caller has this scope, or `admin`, which has all."""
        if not self.scopes & {scope, "admin"}:
            raise Forbidden(f"the API key lacks the scope '{scope}'", code="insufficient_scope")

    def check_task(self, task: str) -> None:
        """Raise `Forbidden` for a task that the caller is not held to, whether or not it exists."""
        if self.tasks is not None and task not in self.tasks:
            raise Forbidden("the API key does not allow this task", code="task_not_allowed")

    def check_all_tasks(self) -> None:
        """Raise `Forbidden` where the caller is held to tasks, for what tells of every task."""
        if self.tasks is not None:
            raise Forbidden("the API key does not allow every task", code="task_not_allowed")

    def check_base_model(self) -> None:
        """Raise `Forbidden` where the caller is held to tasks: the bare base model is none."""
        if self.tasks is not None:
            raise Forbidden("the API key does not allow the base model", code="task_not_allowed")


ANYBODY = Caller("anonymous", best_priority=-100)
"""Who calls a server that has no keys: there is nothing to hold them to but the server's limits."""

BOOTSTRAP = Caller("admin-key", salt=b"admin-key", best_priority=-100, limits=None)
"""Who bears the key that the server was started with: no limits, so that an operator can always come in."""


def caller_of(record: KeyRecord) -> Caller:
    """The bearer of a stored key."""
    grant = record.grant
    return Caller(
        actor=f"key:{grant.name}",
        scopes=grant.scopes,
        tasks=None if grant.tasks is None else frozenset(grant.tasks),
        salt=f"key {grant.name}".encode() if grant.salt is None else f"salt {grant.salt}".encode(),
        best_priority=grant.best_priority,
        limits=grant.limits,
    )


async def _caller(request: Request) -> Caller:
    """The caller whom the route's declared scope let in; without a declaration there is none."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
