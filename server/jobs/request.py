"""What a tuning job asks for, besides its files: kept with the job as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prompts_store.manifest import Manifest, manifest_from_json, manifest_to_json
from server.tuning.examples import Reading
from server.tuning.gate import Gate
from server.tuning.plan import TuningPlan, plan_from_json, plan_to_json
from server.tuning.split import Split


@dataclass(frozen=True, slots=True)
class JobRequest:
    """How to tune, and what is to come of it.

    `manifest` is what the version is to carry; labels and `defaults` that it leaves open come from the examples.
    `promote` makes the version `production`, if `gate` opens where there is one. `metadata` is the client's own.
    `reading` is how the files are read: a job goes on as the release did that made it.
    `split` holds out examples where there is no validation file; a job of an earlier release names none.
    """

    plan: TuningPlan
    manifest: Manifest
    promote: bool = False
    gate: Gate | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    reading: Reading = Reading.WHOLE
    split: Split = Split.EVERY_LABEL_TRAINED


def request_to_json(request: JobRequest) -> dict[str, Any]:
    """Every field as a JSON value; `request_from_json` reads it back."""
    return {
        "plan": plan_to_json(request.plan),
        "manifest": manifest_to_json(request.manifest),
        "promote": request.promote,
        "gate": None if request.gate is None else asdict(request.gate),
        "metadata": dict(request.metadata),
        "reading": request.reading.value,
        "split": request.split,
    }


def request_from_json(fields: Mapping[str, Any]) -> JobRequest:
    """The request that `request_to_json` gave. Raises `PlanRefused` for one of a release with other rules."""
    gate = fields["gate"]
    return JobRequest(
        plan=plan_from_json(fields["plan"]),
        manifest=manifest_from_json(fields["manifest"]),
        promote=fields["promote"],
        gate=None if gate is None else Gate(**gate),
        metadata=fields["metadata"],
        reading=Reading(fields.get("reading", Reading.LAST_ANSWER)),
        split=Split(fields.get("split", Split.RANDOM)),
    )
