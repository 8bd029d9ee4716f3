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
from tests.system.soak.findings import Row

MAX_SLOPE_MIB_H = 32.0
SERVER = {"threads": 1, "num_kv_blocks": 200, "max_prefix_share": 0.05, "max_num_seqs": 12, "log_format": "json"}
"""Room for few: sequences queue and are preempted, and soft prompts make room for one another."""


def soak(
    folder: Path, duration_s: float, max_slope_mib_h: float | None, kinds: frozenset[str] = frozenset()
) -> list[Row]:
    """Start a server, load it for so long, and stop it; everything that was found.

    The load goes on until each of `kinds` was answered, a minute at most. Without `max_slope_mib_h` memory is not
    judged: a server that has just started is still warming up.
    """
    with ServerProcess(folder / "log", data_dir=folder / "data", **SERVER) as server:
        rows = asyncio.run(_load(server, duration_s, max_slope_mib_h, kinds))
        rows.append(findings.zero("exit status", server.stop()))
    return [*rows, *findings.from_log(server.log)]


async def _load(
    server: ServerProcess, duration_s: float, max_slope_mib_h: float | None, kinds: frozenset[str]
) -> list[Row]:
    samples: list[tuple[float, float]] = []
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=httpx.Limits(max_connections=None)) as client:
        world = load.World(client, await load.learn(client))
        changes = Changes()
        await changes.changed(world)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for ask in (*load.CLIENTS, changes.changed, Tuning().tuned):
                group.create_task(load.again(world, ask, stop))
            watching = group.create_task(memory.watch(server, samples))
            await asyncio.sleep(duration_s)
            await _until_answered(world, kinds)
            watching.cancel()
            stop.set()
        found, home = await findings.at_rest(client)
    rows = [Row(f"answers: {kind}", str(number), "", True) for kind, number in sorted(world.outcomes.items())]
    rows.append(findings.zero("wrong answers and lost connections", len(world.wrong), world.wrong))
    rows += [
        Row(name, str(findings.total(found, f"{name}_total")), "", True)
        for name in ("steps", "preemptions", "prefix_loads", "prefix_evictions", "tuning_steps")
    ]
    if max_slope_mib_h is not None:
        rows.append(_memory(memory.fit(samples), max_slope_mib_h))
    return [*rows, *findings.from_metrics(found), *home]


async def _until_answered(world: load.World, kinds: frozenset[str], within_s: float = 60.0) -> None:
    """Let the load go on until each kind has an answer, or until the time is over."""
    deadline = time.monotonic() + within_s
    while not kinds <= world.outcomes.keys() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


def _memory(line: memory.Line, max_slope_mib_h: float) -> Row:
    figure = f"{line.slope_mib_h:+.1f} MiB/h ({line.first_mib:.0f} to {line.last_mib:.0f} MiB in {line.window_s:.0f} s)"
    return Row("memory after warm-up", figure, f"{max_slope_mib_h:g} MiB/h", line.slope_mib_h <= max_slope_mib_h)


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
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--max-slope-mib-h", type=float, default=MAX_SLOPE_MIB_H)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="softprompt-soak-") as folder:
        rows = soak(Path(folder), given.minutes * 60, given.max_slope_mib_h)
    print(table(rows))
    return 0 if all(row.is_kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
