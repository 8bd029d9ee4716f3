"""The objects that the routes use, built once at start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from prompts_store.records import BaseModel
from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.api.access.key_ring import KeyRing
from server.api.access.overload import OverloadGuard
from server.api.access.quotas import Quotas
from server.api.errors import TaskReadOnly
from server.api.inference.shadows import ShadowRuns
from server.api.limits import ApiSettings
from server.api.middleware.drain import Drain
from server.engine.client import EngineClient
from server.jobs.defaults import TuningDefaults
from server.jobs.runner import JobRunner
from server.soft_prompts.catalog import TaskCatalog
from server.soft_prompts.tasks_folder import TasksFolder
from server.telemetry.metrics import Metrics
from server.telemetry.tracing import NoTracing, Tracing
from server.threads import Threads
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.kept_runs import KeptRuns


@dataclass(frozen=True, slots=True, eq=False)
class RouteThreads:
    """The threads in which routes wait, by kind."""

    reads: Threads = field(default_factory=lambda: Threads("reads", 4))
    writes: Threads = field(default_factory=lambda: Threads("writes", 4))
    observation: Threads = field(default_factory=lambda: Threads("observation", 1))

    def close(self) -> None:
        """Let them end."""
        for each in (self.reads, self.writes, self.observation):
            each.close()


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """Objects that live as long as the application.

    `base_id` is the base model's name in `model`; `started_at` is Unix time in seconds.
    """

    engine: EngineClient
    tokenizer: Tokenizer
    catalog: TaskCatalog
    store: Store
    keys: KeyRing
    base: BaseModel
    base_id: str
    eos_token_ids: frozenset[int]
    tasks_folder: TasksFolder | None = None
    kept_runs: KeptRuns | None = None
    jobs: JobRunner | None = None
    tuning_defaults: TuningDefaults = field(default_factory=TuningDefaults)
    shadows: ShadowRuns = field(default_factory=ShadowRuns)
    quotas: Quotas = field(default_factory=Quotas)
    overload: OverloadGuard = field(default_factory=OverloadGuard)
    settings: ApiSettings = field(default_factory=ApiSettings)
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=NoTracing)
    threads: RouteThreads = field(default_factory=RouteThreads)
    drain: Drain = field(default_factory=Drain)
    started_at: int = field(default_factory=lambda: int(time.time()))

    def check_writable(self, task: str) -> None:
        """Raise `TaskReadOnly` for a task that a folder owns."""
        if self.tasks_folder is not None and task in self.tasks_folder.tasks:
            raise TaskReadOnly("the task is published from a folder on the server; change it in that folder")

    @property
    def tuning(self) -> TuningStore:
        """Files and tuning jobs, in the same database."""
        return TuningStore(self.store)

    @property
    def base_names(self) -> frozenset[str]:
        """Every name that means the base model, none of which a task may bear."""
        return frozenset((self.base_id, *self.base.names))


async def services_of(request: Request) -> Services:
    """The services of the application that a request came to."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def _task_is_writable(task: str, services: Annotated[Services, Depends(services_of)]) -> None:
    services.check_writable(task)


WRITABLE_TASK = Depends(_task_is_writable)
"""Refuses to change the `task` of the path where a folder owns it (`TaskReadOnly`)."""

ServicesDep = Annotated[Services, Depends(services_of)]
