"""The contract between the API and what works on tuning jobs. The store's queue is between them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.jobs.preparer import JobPreparer
from server.telemetry.state_metrics import TuningStats
from server.tuning.fit import Host


class Tuner(Protocol):
    """Works on the jobs of one base model: in this process (`JobRunner`) or in another one (`ProcessTuner`).

    All members belong to the event loop.
    """

    def running(self) -> AbstractAsyncContextManager[None]:
        """Work while the context is open. A job that runs when it closes is saved and given back."""

    def nudge(self) -> None:
        """Read the store now, because a job was created or its status was changed."""

    @property
    def host(self) -> Host:
        """Limits that a job must fit into."""

    @property
    def preparer(self) -> JobPreparer:
        """Reads examples as jobs do."""

    @property
    def stats(self) -> TuningStats:
        """Jobs in work, and totals since the server started."""

    @property
    def problem(self) -> str | None:
        """Why it works on no job now; None while it does."""
