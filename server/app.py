"""The composition root: the one place that knows everyone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from server.api.application import build_api
from server.api.services import Services

__all__ = ["Services", "create_app"]


def create_app(services: Services) -> FastAPI:
    """The application. While it runs, the catalog follows the store's changes."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with services.catalog.following():
            yield

    return build_api(services, lifespan)
