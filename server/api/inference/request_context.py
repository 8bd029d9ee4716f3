"""On what terms a request runs: how long it may take, how early it comes, what it shares, who pays for its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from pydantic import Field, TypeAdapter, ValidationError

from server.api.access.authentication import Doorkeeper
from server.api.access.caller import Caller, CallerDep
from server.api.errors import DeadlineExceeded, Forbidden
from server.api.services import Services, services_of

MAX_TIMEOUT_MS = 86_400_000
_TimeoutMs = Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS)]
_TIMEOUT_MS: TypeAdapter[int] = TypeAdapter(_TimeoutMs)
_TIMEOUT_DESCRIPTION = (
    "How long the answer is worth waiting for. What cannot be answered in time is refused at once (503), and ended "
    "when the time is over."
)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Terms:
    """`deadline` is in seconds of the event loop's clock. `payer` is whose tokens are counted, if anybody's."""

    salt: bytes
    priority: int = 0
    deadline: float | None = None
    payer: Caller | None = None

    def for_shadow(self) -> Terms:
        """The terms of a comparison that nobody asked for and nobody waits for."""
        return Terms(self.salt)


def request_terms(caller: Caller, priority: int | None, deadline: float | None) -> Terms:
    """The terms of a caller's request. Raises `Forbidden` for a better priority than the key allows.

    A request that says nothing has priority 0, or the best that its key allows where that is worse.
    """
    if priority is None:
        priority = max(0, caller.best_priority)
    if priority < caller.best_priority:
        raise Forbidden(f"the API key allows no priority below {caller.best_priority}", code="priority_not_allowed")
    return Terms(caller.salt, priority, deadline, caller)


class _Admission(Doorkeeper):
    """Refuses at the door what would wait too long; then the request's deadline, in the event loop's seconds, or None.

    At the door, since refusing must be cheap: under a flood it is most of what the event loop does.
    """

    async def admit(self, request: Request) -> None:
        """Raise `Overloaded` for a request that would be answered too late. An unreadable time is refused later."""
        services, timeout_s = await services_of(request), None
        with suppress(ValidationError):
            timeout_s = _TIMEOUT_MS.validate_python(request.headers.get("x-request-timeout-ms")) / 1000
        services.admission.check(services.engine.stats, timeout_s)

    async def __call__(
        self,
        _: CallerDep,
        x_request_timeout_ms: Annotated[_TimeoutMs | None, Header(description=_TIMEOUT_DESCRIPTION)] = None,
    ) -> float | None:
        """Return the deadline."""
        return None if x_request_timeout_ms is None else asyncio.get_running_loop().time() + x_request_timeout_ms / 1000


DeadlineDep = Annotated[float | None, Depends(_Admission())]


@asynccontextmanager
async def before(deadline: float | None) -> AsyncIterator[None]:
    """End what runs in the block at the deadline, if there is one. Raises `DeadlineExceeded`."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("the time that the request gave itself is over") from error


async def until(deadline: float | None, items: AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    """The items, as long as there is time. Raises `DeadlineExceeded`."""
    iterator = aiter(items)
    while True:
        try:
            async with before(deadline):
                item = await anext(iterator)
        except StopAsyncIteration:
            return
        yield item


async def pay_for_prompts(services: Services, terms: Terms, num_tokens: int) -> None:
    """Count the tokens of prompts before they are computed. Raises `RateLimited` or `QuotaTooSmall`."""
    if terms.payer is not None:
        await services.quotas.take_tokens(terms.payer, num_tokens)
