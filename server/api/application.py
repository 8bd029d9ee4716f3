"""The HTTP application: routes, error bodies, limits and authentication around the services."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from server import __version__
from server.api.access.authentication import declared_scopes, doors_of
from server.api.engine_state import EngineStates
from server.api.middleware.body_limit import BodyLimitMiddleware
from server.api.middleware.door import DoorMiddleware
from server.api.middleware.drain import DrainMiddleware
from server.api.middleware.observe import ObserveMiddleware
from server.api.middleware.request_id import RequestIdMiddleware
from server.api.openapi import install_openapi, operation_id
from server.api.responses.error_responses import install_error_handlers
from server.api.routes import (
    aliases,
    batches,
    chat,
    classify,
    completions,
    docs,
    embeddings,
    engine,
    files,
    keys,
    models,
    operations,
    page,
    tasks,
    tokenize,
    tuning,
    versions,
)
from server.api.services import Services
from server.web.files import API_PAGE, read_files

_DESCRIPTION = (
    "One frozen base model serves many soft prompts. `model` names a task, and each request may name another one."
)
_ROUTES = (
    completions, chat, classify, embeddings, models, tasks, versions, aliases, files, batches, tuning, keys, engine,
    tokenize, operations, docs, page,
)  # fmt: skip

_CORS_METHODS = ("GET", "POST", "PUT", "DELETE")
_CORS_HEADERS = ("*",)  # whatever is asked for: SDKs send headers of their own, and new ones with each release
_CORS_EXPOSED = ("etag", "location", "retry-after", "x-request-id", "x-should-retry", "x-softprompt-task",
                 "x-softprompt-version", "x-softprompt-digest")  # fmt: skip

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_api(services: Services, lifespan: Lifespan) -> FastAPI:
    """The application that answers with these services. `lifespan` is entered at start and left at the end."""
    app = build_routes(lifespan)
    read_files(API_PAGE)  # now, so that no request waits for it
    settings = services.settings
    app.state.services = services
    app.state.access = services.access
    app.state.inference = services.inference
    app.state.store_access = services.store_access
    app.state.engine_states = EngineStates(services)
    app.add_middleware(DoorMiddleware, doors=doors_of(app.routes))
    app.add_middleware(BodyLimitMiddleware, limits=settings.limits)
    app.add_middleware(DrainMiddleware, drain=services.drain)
    app.add_middleware(ObserveMiddleware, metrics=services.metrics, tracing=services.tracing)
    app.add_middleware(RequestIdMiddleware)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_CORS_METHODS,
            allow_headers=_CORS_HEADERS,
            expose_headers=_CORS_EXPOSED,
        )
    return app


def build_routes(lifespan: Lifespan | None = None) -> FastAPI:
    """The application without services and middleware: enough to describe it."""
    app = FastAPI(
        title="softprompt-server",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=None,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    for resource in _ROUTES:
        app.include_router(resource.router)
    _refuse_undeclared(app)
    install_error_handlers(app)
    install_openapi(app)
    return app


def _refuse_undeclared(app: FastAPI) -> None:
    undeclared = [route for route, scope in declared_scopes(app.routes).items() if scope is None]
    if undeclared:
        raise RuntimeError(f"routes without a scope, or not guarded: {', '.join(undeclared)}")
