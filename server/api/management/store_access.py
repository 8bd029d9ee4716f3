"""Reading and writing the store from a route: in a thread, and known to this server's own catalog at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Concatenate, ParamSpec, TypeVar

from prompts_store.errors import StoreUnavailable
from prompts_store.store import Store
from server.api.services import Services

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


async def read(
    services: Services, operation: Callable[Concatenate[Store, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
) -> _Result:
    """The result of an operation that writes nothing. Raises what the operation does, and `ThreadsBusy`."""
    return await services.threads.reads.run(operation, services.store, *args, **kwargs)


async def write(
    services: Services, operation: Callable[Concatenate[Store, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
) -> _Result:
    """As `read`, of one that writes; once it returns, this server answers by what was written."""
    result = await services.threads.writes.run(operation, services.store, *args, **kwargs)
    # What is written stays written even if the store goes away now; the follower takes it over later.
    with suppress(StoreUnavailable):
        await services.catalog.refresh()
        await services.keys.refresh()
    return result
