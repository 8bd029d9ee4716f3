"""Many replicas on many machines, by Ray Serve (extra `ray`): the same application in each, over one PostgreSQL.

    serve deploy docker/ray/serve.yaml

Tasks are published and moved through the store, which every replica follows; Ray carries requests and nothing else.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve

from server.settings import ServeSettings

_DRAIN_POLL_S = 1.0
_PROCESS_END_S = 10.0


class NeedsDatabase(ValueError):
    """Replicas without one database would each have tasks of their own."""


class Replica:
    """One engine with its application, in a process of its own."""

    def __init__(self, values: dict[str, Any]) -> None:
        from server.logging import configure_logging

        self._settings = settings = ServeSettings(**values)
        configure_logging(
            settings.log_level, settings.log_format, access_log=settings.access_log, prompts=settings.log_prompts
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Load the model and build the application, in the replica's own process."""
        from server.loading import load

        self._app = load(self._settings)
        return self._app

    def check_health(self) -> None:
        """Asked by Ray, which replaces a replica that raises."""
        if not self._app.state.services.inference.engine.is_alive:
            raise RuntimeError("the engine makes no progress")


def application(values: dict[str, Any]) -> serve.Application:
    """Describe the deployment `softprompt`, whose replicas are served by settings of these names and by `SOFTPROMPT_…`.

    What Ray may queue follows from the settings; replicas, GPUs and autoscaling are set in the Serve file. Ray's proxy
    listens where it is told to, so without another word a key is required. Raises `NeedsDatabase`.
    """
    values = {"host": "0.0.0.0", **values}
    settings = ServeSettings(**values)
    if settings.database_url is None:
        raise NeedsDatabase("replicas need one database: set SOFTPROMPT_DATABASE_URL to a PostgreSQL")
    max_open = settings.max_waiting + settings.max_num_seqs
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="softprompt",
        max_ongoing_requests=max_open,
        max_queued_requests=max_open,
        graceful_shutdown_wait_loop_s=_DRAIN_POLL_S,
        graceful_shutdown_timeout_s=settings.shutdown_grace_s + _PROCESS_END_S,
        health_check_period_s=2,
        health_check_timeout_s=10,
    )
    return deployment.bind(values)
