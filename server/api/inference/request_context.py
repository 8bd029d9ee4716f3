"""Deadline, priority, cache salt, sticky key and payer of one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from pydantic import Field, TypeAdapter, ValidationError

from server.api.access.access import Access
from server.api.access.authentication import Doorkeeper
from server.api.access.caller import Caller, CallerDep
from server.api.errors import DeadlineExceeded, Forbidden

MAX_TIMEOUT_MS = 86_400_000
MAX_STICKY_KEY_LENGTH = 256
"""In characters, which in a header are bytes."""

_TimeoutMs = Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS)]
_TIMEOUT_MS: TypeAdapter[int] = TypeAdapter(_TimeoutMs)
_TIMEOUT_DESCRIPTION = (
    "Maximum time for the answer, in milliseconds. The server refuses at once (503) a request that it cannot answer in "
    "time, and ends a request whose time is over."
)
_STICKY_KEY_DESCRIPTION = (
    "Any text that identifies the caller, such as a hashed user id. If `model` names an alias of several versions, the "
    "same key always gets the same version. A higher weight of a version moves callers to that version only."
)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Properties of a request besides its body.

    `salt` isolates cached text. `deadline` is in seconds of the event loop's clock. `payer` is the caller whose tokens
    are counted; None for a shadow. `sticky_key` chooses a version of a weighted alias: it is hashed together with the
    alias, and is neither stored nor logged.
    """

    caller: Caller
    salt: bytes
    priority: int = 0
    deadline: float | None = None
    payer: Caller | None = None
    sticky_key: bytes | None = None

    def with_priority(self, priority: int | None) -> RequestContext:
        """The context with a priority. None means 0, or the lowest number that the key allows if that is above 0.

        Raises `Forbidden` for a number below the lowest that the key allows.
        """
        best = self.caller.best_priority
        if priority is None:
            priority = max(0, best)
        if priority < best:
            message = f"priority is {priority}; the lowest number that the API key allows is {best}"
            raise Forbidden(message, code="priority_not_allowed")
        return replace(self, priority=priority)

    def for_shadow(self) -> RequestContext:
        """The context of a comparison: no deadline, no payer."""
        return RequestContext(self.caller, self.salt)


async def _sticky_key(
    x_softprompt_sticky_key: Annotated[
        str | None,
        Header(min_length=1, max_length=MAX_STICKY_KEY_LENGTH, description=_STICKY_KEY_DESCRIPTION),
    ] = None,
) -> bytes | None:
    return None if x_softprompt_sticky_key is None else x_softprompt_sticky_key.encode("latin-1", "replace")


StickyKeyDep = Annotated[bytes | None, Depends(_sticky_key)]


async def _deadline(
    x_request_timeout_ms: Annotated[_TimeoutMs | None, Header(description=_TIMEOUT_DESCRIPTION)] = None,
) -> float | None:
    return None if x_request_timeout_ms is None else asyncio.get_running_loop().time() + x_request_timeout_ms / 1000


class _OverloadCheck(Doorkeeper):
    """Refuses a request that would wait too long, before it is routed; then makes its context."""

    def check(self, request: Request) -> None:
        """Raise `Overloaded` if the answer would come too late. A malformed timeout header is refused later."""
        timeout_s = None
        if (given := request.headers.get("x-request-timeout-ms")) is not None:
            with suppress(ValidationError):
                timeout_s = _TIMEOUT_MS.validate_python(given) / 1000
        access: Access = request.app.state.access
        access.check_room(timeout_s)

    async def __call__(
        self, caller: CallerDep, deadline: Annotated[float | None, Depends(_deadline)], sticky_key: StickyKeyDep
    ) -> RequestContext:
        """Return the context, without the body's priority."""
        return RequestContext(caller, caller.salt, deadline=deadline, payer=caller, sticky_key=sticky_key)


ContextDep = Annotated[RequestContext, Depends(_OverloadCheck())]


@asynccontextmanager
async def deadline_scope(deadline: float | None) -> AsyncIterator[None]:
    """Cancel the block at the deadline, if there is one. Raises `DeadlineExceeded`."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("the request's time (x-request-timeout-ms) is over") from error


def stop_at(deadline: float | None, items: AsyncIterable[_Item]) -> AsyncIterable[_Item]:
    """Yield the items until the deadline. Raises `DeadlineExceeded`."""
    return items if deadline is None else _stop_at(deadline, items)


async def _stop_at(deadline: float, items: AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    iterator = aiter(items)
    while True:
        try:
            async with deadline_scope(deadline):
                item = await anext(iterator)
        except StopAsyncIteration:
            return
        yield item
