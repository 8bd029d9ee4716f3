"""Every guard of a request in one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from server.api.access.caller import ANYBODY, Caller
from server.api.access.key_ring import KeyRing
from server.api.access.local_origins import check_page
from server.api.access.overload import OverloadGuard
from server.api.access.quotas import Quotas
from server.api.limits import ApiSettings
from server.engine.client import EngineClient


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """The keys, the quotas, and the engine's load. Belongs to the event loop."""

    keys: KeyRing
    quotas: Quotas
    overload: OverloadGuard
    engine: EngineClient
    settings: ApiSettings

    def identify(self, request: Request, secret: str | None) -> Caller:
        """The caller with this secret.

        Raises `Unauthorized`, and `Forbidden` for another machine's page on a server without keys.
        """
        caller = self.keys.identify(secret)
        if caller is ANYBODY and self.settings.is_local:
            check_page(request.headers, self.settings.cors_origins)
        return caller

    def check_room(self, timeout_s: float | None) -> None:
        """Raise `Overloaded` if the answer would come after `timeout_s` seconds, or if the wait exceeds the maximum."""
        self.overload.check(self.engine.stats, timeout_s)


async def access_of(request: Request) -> Access:
    """The access object of the request's application."""
    access = request.app.state.access
    assert isinstance(access, Access)
    return access


AccessDep = Annotated[Access, Depends(access_of)]
