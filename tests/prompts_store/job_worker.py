"""A process that works on tuning jobs, for the tests of several on one database.

Run as `python -m tests.prompts_store.job_worker URL work|hang`: `work` completes jobs until there are none, `hang`
claims one and sleeps. Prints the ids of the jobs.
"""

from __future__ import annotations

import os
import sys
import time

from prompts_store.manifest import Manifest
from prompts_store.store import Store
from prompts_store.tuning_records import JobOutcome, JobStatus, Promotion
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE, checkpoint


def main(url: str, what: str) -> None:
    """Claim jobs."""
    with Store.open(url) as store:
        tuning = TuningStore(store)
        while found := tuning.claim_job(BASE.fingerprint, JobStatus.QUEUED, f"process-{os.getpid()}"):
            claim, job = found
            print(claim.job_id, flush=True)
            if what == "hang":
                time.sleep(60)
            outcome = JobOutcome(Manifest(), Promotion(), 1, {})
            tuning.complete_job(claim, job.task, checkpoint(seed=claim.job_id), outcome, actor="worker")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
