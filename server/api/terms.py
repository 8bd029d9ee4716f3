"""On what terms a request runs: how long it may take, how early it comes, what it shares, who pays for its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header

from server.api.caller import Caller, CallerDep
from server.api.errors import DeadlineExceeded, Forbidden
from server.api.services import Services, ServicesDep

MAX_TIMEOUT_MS = 86_400_000
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


async def _admission(
    services: ServicesDep,
    _: CallerDep,
    x_request_timeout_ms: Annotated[
        int | None,
        Header(
            ge=1,
            le=MAX_TIMEOUT_MS,
            description="How long the answer is worth waiting for. What cannot be answered in time is refused at once "
            "(503), and ended when the time is over.",
        ),
    ] = None,
) -> float | None:
    """The request's deadline; `Overloaded` where it would wait too long. Before anything is computed for it."""
    timeout_s = None if x_request_timeout_ms is None else x_request_timeout_ms / 1000
    services.admission.check(services.engine.stats, timeout_s)
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s


DeadlineDep = Annotated[float | None, Depends(_admission)]


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
    """Count the tokens of prompts before they are computed. Raises `RateLimited`."""
    if terms.payer is not None:
        await services.quotas.take_tokens(terms.payer, num_tokens)
