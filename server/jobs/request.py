"""Request of a tuning job, without its files. The store keeps it with the job, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prompts_store.manifest import Manifest, manifest_from_json, manifest_to_json
from server.tuning.example_line import Reading
from server.tuning.gate import Gate
from server.tuning.plan import TuningPlan, plan_from_json, plan_to_json
from server.tuning.split import Split
from server.tuning.teaching import Distillation


@dataclass(frozen=True, slots=True)
class TuningDefaults:
    """Values of this server for requests that do not give them.

    `manifest` has the default form of a prompt: a template, or the base model's chat template. A client cannot set
    `max_micro_batch_tokens`, which bounds one piece of work in positions.
    """

    manifest: Manifest = field(default_factory=lambda: Manifest(template="{input}\n"))
    max_micro_batch_tokens: int = 512


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Plan of the run, and use of its result.

    `manifest` is that of the version to make; its labels and `defaults` come from the examples if it has none.
    `promote` makes the version `production`; with a `gate`, only if that passes. `metadata` belongs to the client.
    `reading` is the rule for the files: a job keeps the rule of the release that created it.
    `split` holds out examples if there is no validation file. It too stays as it was when the job was created.
    With a `distillation`, the files have inputs, which the teacher answers.
    """

    plan: TuningPlan
    manifest: Manifest
    promote: bool = False
    gate: Gate | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    reading: Reading = Reading.WHOLE
    split: Split = Split.EVERY_LABEL_TRAINED
    distillation: Distillation | None = None


def request_to_json(request: JobRequest) -> dict[str, Any]:
    """Every field as a JSON value; `request_from_json` reads it back. Only a distillation has that field."""
    distillation = {} if request.distillation is None else {"distillation": request.distillation.to_json()}
    return {
        "plan": plan_to_json(request.plan),
        "manifest": manifest_to_json(request.manifest),
        "promote": request.promote,
        "gate": None if request.gate is None else asdict(request.gate),
        "metadata": dict(request.metadata),
        "reading": request.reading.value,
        "split": request.split,
        **distillation,
    }


def request_from_json(fields: Mapping[str, Any]) -> JobRequest:
    """Inverse of `request_to_json`. Raises `PlanRefused` if this release does not allow a hyperparameter."""
    gate, distillation = fields["gate"], fields.get("distillation")
    return JobRequest(
        plan=plan_from_json(fields["plan"]),
        manifest=manifest_from_json(fields["manifest"]),
        promote=fields["promote"],
        gate=None if gate is None else Gate(**gate),
        metadata=fields["metadata"],
        reading=Reading(fields.get("reading", Reading.LAST_ANSWER)),
        split=Split(fields.get("split", Split.RANDOM)),
        distillation=None if distillation is None else Distillation(**distillation),
    )
