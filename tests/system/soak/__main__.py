"""Soak one server process of the demo model, print what came of it, and fail if a bound is broken."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.system.server_process import ServerProcess
from tests.system.soak import findings, load, memory
from tests.system.soak.changes import Changes, Tuning
from tests.system.soak.failures import Failures
from tests.system.soak.findings import Row

CURVE = Path("build/soak/memory.csv")
MAX_SLOPE_MIB_H = 8.0
SERVER = {"threads": 1, "num_kv_blocks": 200, "max_prefix_share": 0.05, "max_num_seqs": 12, "log_format": "json"}
"""Room for few: sequences queue and are preempted, and soft prompts make room for one another."""


def soak(
    folder: Path,
    duration_s: float,
    kinds: frozenset[str] = frozenset(),
    curve: Path | None = None,
    warm_up_s: float = memory.WARM_UP_S,
) -> list[Row]:
    """Start a server, load it for so long, and stop it; everything that was found.

    The load goes on until each of `kinds` was answered, a minute at most. The samples of memory go to `curve`, and all
    failures to a file beside it. Memory is judged if the run is long enough for three windows after warm-up.
    """
    curve = folder / "memory.csv" if curve is None else curve
    samples: list[memory.Sample] = []
    with ServerProcess(folder / "log", data_dir=folder / "data", **SERVER) as server:
        rows = asyncio.run(_load(server, duration_s, kinds, samples, curve))
        rows.append(findings.zero("exit status", server.stop()))
    return [*rows, *_memory(memory.medians(samples, warm_up_s)), *findings.from_log(server.log)]


async def _load(
    server: ServerProcess, duration_s: float, kinds: frozenset[str], samples: list[memory.Sample], curve: Path
) -> list[Row]:
    unlimited = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=unlimited) as client:
        with Failures(curve.with_suffix(".failures.jsonl")) as failures:
            world = load.World(client, await load.learn(client), failures)
            changes = Changes()
            await changes.changed(world)
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for ask in (*load.CLIENTS, changes.changed, Tuning().tuned):
                    group.create_task(load.again(world, ask, stop))
                watching = group.create_task(memory.watch(server, client, world.outcomes.total, samples, curve))
                await asyncio.sleep(duration_s)
                await _until_answered(world, kinds)
                watching.cancel()
                stop.set()
        found, home = await findings.at_rest(client)
    answers = [Row(f"answers: {kind}", str(number), "", True) for kind, number in sorted(world.outcomes.items())]
    totals = [
        Row(name, str(findings.total(found, f"{name}_total")), "", True)
        for name in ("steps", "preemptions", "prefix_loads", "prefix_evictions", "tuning_steps")
    ]
    return [*answers, *failures.rows(), *totals, *findings.from_metrics(found), *home]


async def _until_answered(world: load.World, kinds: frozenset[str], within_s: float = 60.0) -> None:
    """Let the load go on until each kind has an answer, or until the time is over."""
    deadline = time.monotonic() + within_s
    while not kinds <= world.outcomes.keys() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


def _memory(points: Sequence[memory.Sample]) -> list[Row]:
    if len(points) < 3:
        return []
    hours = [point.time_s / 3600 for point in points]
    resident = memory.fit(hours, [point.resident_mib for point in points])
    live = memory.fit(hours, [point.live_mib for point in points])
    thousands = memory.fit([point.num_answered / 1000 for point in points], [point.live_mib * 1024 for point in points])
    span = f"{points[0].resident_mib:.0f} to {points[-1].resident_mib:.0f} MiB in {len(points)} windows"
    return [
        Row(
            "resident memory after warm-up",
            f"{_with_interval(resident)} MiB/h ({span})",
            f"{MAX_SLOPE_MIB_H:g} MiB/h for the upper end",
            resident.high <= MAX_SLOPE_MIB_H,
        ),
        Row("live heap after warm-up", f"{_with_interval(live)} MiB/h", "", True),
        Row("live heap for each 1,000 answers", f"{_with_interval(thousands)} KiB", "", True),
    ]


def _with_interval(line: memory.Line) -> str:
    return f"{line.slope:+.1f} ± {line.half_interval:.1f}"


def table(rows: Sequence[Row]) -> str:
    """The report; a broken bound is marked."""
    width = max(len(row.what) for row in rows)
    lines = []
    for row in rows:
        bound = f"  (bound {row.bound})" if row.bound else ""
        lines.append(f"{row.what:{width}}  {row.figure}{bound}{'' if row.is_kept else '  BROKEN'}")
    return "\n".join(lines)


def main() -> int:
    """The process's status: 1 if a bound is broken."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument(
        "--curve",
        type=Path,
        default=CURVE,
        help="the file for the samples of memory (CSV); one that ends in .failures.jsonl has every failure. Both are "
        "written as it happens (default: %(default)s)",
    )
    parser.add_argument("--warm-up", type=float, default=memory.WARM_UP_S / 60, help="minutes that are not judged")
    given = parser.parse_args()
    given.curve.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="softprompt-soak-") as folder:
        rows = soak(Path(folder), given.minutes * 60, curve=given.curve, warm_up_s=given.warm_up * 60)
    print(table(rows))
    return 0 if all(row.is_kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
