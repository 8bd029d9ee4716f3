"""Request of a job, as JSON."""

from __future__ import annotations

import json

from prompts_store.manifest import Manifest
from server.jobs.request import JobRequest, request_from_json, request_to_json
from server.tuning.gate import Gate
from server.tuning.plan import TuningPlan


def test_a_request_is_read_back_as_it_was():
    """Through JSON, as the store keeps it."""
    request = JobRequest(
        TuningPlan(learning_rate="auto", num_steps=7),
        Manifest(template="{input}", labels=("a", "b"), stop=("\n",), defaults={"max_tokens": 4}),
        promote=True,
        gate=Gate("macro_f1", 0.5, True),
        metadata={"who": "me"},
    )
    assert request_from_json(json.loads(json.dumps(request_to_json(request)))) == request
