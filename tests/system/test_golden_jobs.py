"""A store of release 4b55c5e with jobs that had not ended: all of it is whole, answers, and goes on to its end."""

from __future__ import annotations

import json
import re

import pytest

from prompts_store import maintenance
from prompts_store.store import Store
from server.settings import sqlite_url
from tests.system import golden_jobs
from tests.system.golden_jobs import asked, continued, serving

EXPECTED = json.loads(golden_jobs.EXPECTED.read_text())
CONTINUED = json.loads(golden_jobs.CONTINUED.read_text())
JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture
def data_dir(tmp_path):
    golden_jobs.load(tmp_path / "data")
    return tmp_path / "data"


def test_every_digest_of_the_store_is_right_after_its_upgrade(data_dir):
    """Versions of all types, an ensemble and retired ones have the digests that the release gave them."""
    with Store.open(sqlite_url(data_dir)) as store:
        (fingerprint,) = store.bases()
        for task, versions in EXPECTED["versions"].items():
            found = store.list_versions(fingerprint, task, include_retired=True)
            assert {str(version.version): version.digest for version in found} == versions
        canary, shadow, production = store.list_aliases(fingerprint, "sentiment")
        assert [(target.version, target.weight) for target in canary.targets] == [(1, 90), (2, 10)]
        assert (shadow.shadow_of, production.version) == ("production", 1)
        moves = store.alias_history(fingerprint, "prompt", "production")
        assert [(move.from_version, move.to_version, move.reason) for move in moves] == [
            (1, 2, "worse"), (2, 1, ""), (1, 2, ""), (None, 1, ""),
        ]  # fmt: skip
        assert [(key.name, key.revoked_at is None) for key in store.list_keys()] == [("old", False), ("shop", True)]
        assert maintenance.verify(store).problems == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stored_versions_answer_and_open_jobs_end(data_dir, tmp_path):
    """A job goes on from its checkpoint, by the rules that it was created with: it takes the same examples in the same
    steps as when nobody interrupted it. On a CPU that counts as that of `CONTINUED`, its result is the same."""
    with serving(data_dir, golden_jobs.make_base(tmp_path / "base"), tmp_path / "log") as (_, client):
        for task in golden_jobs.KINDS:
            answer = client.post("/v1/completions", json={"model": task, "prompt": "fine", "max_tokens": 2})
            assert answer.is_success, answer.text
            assert answer.headers["x-softprompt-digest"] == EXPECTED["versions"][task]["2"]
        body = {"model": "sentiment", "prompt": "The food was cold and the waiter was rude"}
        assert asked(client.post("/v1/completions", json=body))["choices"][0]["text"] == "negative"
        assert asked(client.post("/v1/classify", json={"model": "prompt@3", "input": "fine"}))["data"]
        left, found = EXPECTED["jobs"], continued(client)
        for task, job in left.items():
            assert _went_on_from(client, job["id"]) == job["step"] or task == "done"
        assert "sentiment" in _measured_tasks(client)
        assert not _measured_tasks(client) & set(left), "evaluations are requests of the server's own"
    # What never ran before the upgrade shows whether this CPU counts as the one that wrote `CONTINUED`.
    is_same_cpu = all(found[task]["digest"] == CONTINUED[task]["digest"] for task in ("waiting", "unread"))
    for task, expected in CONTINUED.items():
        if is_same_cpu:
            assert found[task] == expected, task
        _check_but_for_rounding(found[task], expected)
    with Store.open(sqlite_url(data_dir)) as store:
        assert maintenance.verify(store).problems == ()


def test_the_arithmetic_of_now_takes_the_same_examples_in_the_same_steps():
    """Only digests, and scores within rounding, may differ from what the release itself came to."""
    for task, expected in EXPECTED["outcomes"].items():
        _check_but_for_rounding(CONTINUED[task], expected)
    assert CONTINUED["done"] == EXPECTED["outcomes"]["done"], "it had ended before the upgrade"


def _check_but_for_rounding(found: dict, expected: dict) -> None:
    """Check that two outcomes are of the same examples in the same steps."""
    assert found["exact_match"] == pytest.approx(expected["exact_match"], abs=0.4)
    left_out = {"digest": None, "exact_match": None}
    assert found | left_out == expected | left_out


def _went_on_from(client, job_id: str) -> int:
    """The step of the last checkpoint that a job went on from, 0 where there was none."""
    events = asked(client.get(f"{JOBS}/{job_id}/events", params={"limit": 100}))["data"]
    told = [re.match(r"The job goes on from its checkpoint at step (\d+)", event["message"]) for event in events]
    return max((int(found[1]) for found in told if found), default=0)


def _measured_tasks(client) -> set[str]:
    """The tasks whose requests the metrics count."""
    return set(re.findall(r'^softprompt_requests_total{.*task="([^"]*)"', client.get("/metrics").text, re.MULTILINE))
