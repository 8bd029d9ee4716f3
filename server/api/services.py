"""The objects that the routes use, built once at start."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from server.api.access.access import Access
from server.api.inference.inference import Inference
from server.api.limits import ApiSettings
from server.api.management.store_access import StoreAccess
from server.api.middleware.drain import Drain
from server.api.wire.engine import EngineName
from server.batches.runner import BatchRunner
from server.jobs.request import TuningDefaults
from server.jobs.tuner import Tuner
from server.soft_prompts.live_captures import LiveCaptures
from server.telemetry.metrics import Metrics
from server.telemetry.tracing import NoTracing, Tracing
from server.threads import Threads
from server.web.files import PAGE, WebFile, read_files

NO_END_TOKEN = "the base model has no end token, so nothing can be tuned"


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """Objects that live as long as the application: the one that each room works with, and the rest.

    `base_id` is the base model's name in `model`; `engine_name` and `device` are what compute it, and `weights` is the
    form of its weights, None where vLLM's arguments say it. Without `jobs`,
    `no_jobs` says why nothing can be tuned. Without `captures`, soft prompts are made ready on first use. `started_at`
    is Unix time, and `began` the monotonic time of the same moment, both in seconds.
    `page` has the files of the page at `/` by their path; empty, there is none.
    """

    access: Access
    inference: Inference
    store_access: StoreAccess
    base_id: str
    engine_name: EngineName = "own"
    device: str = "cpu"
    weights: str | None = "float32"
    settings: ApiSettings = field(default_factory=ApiSettings)
    jobs: Tuner | None = None
    batches: BatchRunner | None = None
    captures: LiveCaptures | None = None
    no_jobs: str = NO_END_TOKEN
    tuning_defaults: TuningDefaults = field(default_factory=TuningDefaults)
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=NoTracing)
    observation: Threads = field(default_factory=lambda: Threads("observation", 1))
    drain: Drain = field(default_factory=Drain)
    page: Mapping[str, WebFile] = field(default_factory=lambda: read_files(PAGE))
    started_at: int = field(default_factory=lambda: int(time.time()))
    began: float = field(default_factory=time.monotonic)

    @property
    def no_tuning(self) -> str | None:
        """Why nothing can be tuned now; None where jobs are accepted."""
        return self.no_jobs if self.jobs is None else self.jobs.problem


async def _services_of(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(_services_of)]
