"""The objects that the routes use, built once at start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from server.api.access.access import Access
from server.api.inference.inference import Inference
from server.api.limits import ApiSettings
from server.api.management.store_access import StoreAccess
from server.api.middleware.drain import Drain
from server.jobs.request import TuningDefaults
from server.jobs.runner import JobRunner
from server.telemetry.metrics import Metrics
from server.telemetry.tracing import NoTracing, Tracing
from server.threads import Threads


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """Objects that live as long as the application: the one that each room works with, and the rest.

    `base_id` is the base model's name in `model`; `started_at` is Unix time in seconds.
    """

    access: Access
    inference: Inference
    store_access: StoreAccess
    base_id: str
    settings: ApiSettings = field(default_factory=ApiSettings)
    jobs: JobRunner | None = None
    tuning_defaults: TuningDefaults = field(default_factory=TuningDefaults)
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=NoTracing)
    observation: Threads = field(default_factory=lambda: Threads("observation", 1))
    drain: Drain = field(default_factory=Drain)
    started_at: int = field(default_factory=lambda: int(time.time()))


async def _services_of(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(_services_of)]
