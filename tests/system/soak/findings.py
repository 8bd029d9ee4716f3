"""What is left to find when the clients have gone: in the log, in the metrics, in the blocks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

REST_TIMEOUT_S = 60.0
_AT_REST = ("sequences_running", "sequences_waiting", "prefix_leases", "open_requests", "tuning_jobs")

Samples = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the report: what, how much, what is allowed, and whether that was kept."""

    what: str
    figure: str
    bound: str
    is_kept: bool


def zero(what: str, figure: int, examples: Iterable[str] = ()) -> Row:
    """A row whose bound is 0; the first examples say what was found."""
    shown = "".join(f"\n    {example[:400]}" for example in list(examples)[:3])
    return Row(what, f"{figure}{shown}", "0", figure == 0)


async def scrape(client: httpx.AsyncClient) -> Samples:
    """Every sample of /metrics by its name and the values of its labels."""
    response = await client.get("/metrics")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def at_rest(client: httpx.AsyncClient) -> tuple[Samples, list[Row]]:
    """Wait until the server has nothing to do; the metrics then, and whether everything came home."""
    async with asyncio.timeout(REST_TIMEOUT_S):
        while True:
            found = await scrape(client)
            if not any(total(found, name) for name in _AT_REST):
                break
            await asyncio.sleep(0.1)
    # Resident soft prompts keep theirs.
    return found, [
        zero("blocks held", total(found, "kv_blocks_used") - total(found, "prefix_blocks")),
        zero("leases", total(found, "prefix_leases")),
    ]


def total(found: Samples, name: str) -> int:
    """The sum of a metric of ours over its labels."""
    return int(sum(value for key, value in found.items() if key[0] == f"softprompt_{name}"))


def from_metrics(found: Samples) -> list[Row]:
    """Server errors, and requests that failed in the engine."""
    statuses = [
        (key, int(value)) for key, value in found.items()
        if key[0] == "softprompt_http_requests_total" and key[-1].startswith("5")
    ]  # fmt: skip
    errors = [(key, number) for key, number in statuses if key[-1] != "503"]
    failed = [int(value) for key, value in found.items() if key[0] == "softprompt_requests_total" and "failed" in key]
    return [
        zero("answers 5xx other than 503", sum(number for _, number in errors), map(str, errors)),
        zero("requests that failed in the engine", sum(failed)),
        zero("steps that raised", total(found, "step_failures_total")),
    ]


def from_log(log: Path) -> list[Row]:
    """Lines that tell of an error, and lines that are no JSON, as an exception that nobody caught would be."""
    errors, foreign = [], []
    for line in log.read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            foreign.append(line)
            continue
        if event["level"] in ("error", "critical") or "exception" in event:
            errors.append(line)
    return [
        zero("errors in the log", len(errors), errors),
        zero("lines of the log that are no event", len(foreign), foreign),
    ]
