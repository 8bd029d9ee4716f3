"""Steps of a tuning job in the store, as a server takes them."""

from __future__ import annotations

from collections.abc import Callable

from prompts_store.manifest import Manifest
from prompts_store.tuning_records import (
    JobClaim,
    JobError,
    JobOutcome,
    JobRecord,
    JobStatus,
    Promotion,
)
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.golden_store import claimed

F = BASE.fingerprint
UNASKED = Promotion()
HOPELESS = JobError("server_stopped", "one server after another stopped")


def validate(tuning: TuningStore) -> JobRecord:
    claim, job = claimed(tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a"))
    tuning.mark_valid(claim)
    return tuning.get_job(F, job.id)


def run(tuning: TuningStore, owner: str = "a") -> JobClaim:
    return claimed(tuning.claim_job(F, JobStatus.QUEUED, owner))[0]


def running(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> JobClaim:
    create_job()
    validate(tuning)
    return run(tuning)


def outcome(promotion: Promotion = UNASKED, **manifest: object) -> JobOutcome:
    return JobOutcome(Manifest(**manifest), promotion, 40, {"exact_match": 0.9}, b"PNG")  # type: ignore[arg-type]


def complete(tuning: TuningStore, claim: JobClaim, promotion: Promotion = UNASKED, seed: int = 1) -> bool:
    task = tuning.get_job(F, claim.job_id).task
    return tuning.complete_job(claim, task, checkpoint(seed=seed), outcome(promotion), actor="ann").promoted


def messages(tuning: TuningStore, job_id: int) -> list[str]:
    return [event.message for event in tuning.list_events(F, job_id)][::-1]
