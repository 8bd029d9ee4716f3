"""Removal of all data of a task, its interrupted runs included."""

from __future__ import annotations

from dataclasses import replace

from prompts_store.errors import TaskNotFound
from prompts_store.reports import PurgeReport
from prompts_store.store import Store
from server.tuning.kept_runs import KeptRuns


def purge_task(store: Store, kept: KeptRuns | None, fingerprint: str, task: str, *, actor: str) -> PurgeReport:
    """Purge a task from the store, and its kept runs from the data folder; a task may have only these.

    Raises StoreError and `RunNotKept`.
    """
    try:
        report = store.purge_task(fingerprint, task, actor=actor)
    except TaskNotFound:
        if kept is None or not (num_runs := kept.purge(task)):
            raise
        return PurgeReport(task, 0, 0, 0, 0, 0, 0, 0, log_is_clear=True, num_interrupted_runs=num_runs)
    return report if kept is None else replace(report, num_interrupted_runs=kept.purge(task))
