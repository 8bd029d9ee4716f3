"""A soak keeps every failure, and tells wrong answers from those that a starved machine explains."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from tests.system.soak import load
from tests.system.soak.failures import FailureKind, Failures, Wrong

_ERRORS = {
    Wrong("404 instead of 200"): FailureKind.WRONG,
    httpx.ReadTimeout("120 s"): FailureKind.LATE,
    httpx.PoolTimeout("120 s"): FailureKind.LATE,
    httpx.RemoteProtocolError("closed in mid-stream"): FailureKind.LOST,
    httpx.ConnectError("refused"): FailureKind.LOST,
}


@pytest.mark.parametrize("error", _ERRORS, ids=repr)
async def test_a_failure_is_counted_by_its_kind(tmp_path, error):
    """Its row alone is not 0, and its bound is broken."""
    with Failures(tmp_path / "failures.jsonl") as failures:
        failures.note("whole", error)
    assert {row.what: row.is_kept for row in failures.rows()} == {
        kind: kind is not _ERRORS[error] for kind in FailureKind
    }


async def test_each_of_many_failures_is_kept_at_once(tmp_path):
    """The file has all of them before it is closed; the report has their number."""
    path = tmp_path / "failures.jsonl"
    with Failures(path) as failures:
        for number in range(48):
            failures.note("whole", Wrong(f"answer {number}"))
        kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each["failure"] for each in kept] == [f"whole: Wrong('answer {number}')" for number in range(48)]
    assert {each["kind"] for each in kept} == {"wrong answers"}
    assert next(failures.rows()).figure.startswith("48\n")


async def test_a_client_goes_on_after_a_failure(tmp_path):
    """The load notes what its client raises, under the name of the request, and asks again."""
    stop = asyncio.Event()

    async def asked(world: load.World) -> None:
        if not world.outcomes and not stop.is_set():
            stop.set()
            raise httpx.ReadError("reset")

    with Failures(tmp_path / "failures.jsonl") as failures:
        async with httpx.AsyncClient() as client:
            await load.again(load.World(client, (), failures), asked, stop)
    assert [row.figure for row in failures.rows()] == ["0", "0", "1\n    asked: ReadError('reset')"]
