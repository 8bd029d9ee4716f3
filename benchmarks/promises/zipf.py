"""What does traffic over 10,000 tasks cost where only 64 soft prompts are resident, against traffic over 10 tasks?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.process import ContenderProcess
from benchmarks.records import Record
from benchmarks.session import Session
from benchmarks.workload import Workload

MEASURE = "many tasks tokens/s"
EXPLAINED = "slowdown explained by the added prefills"
NUM_RESIDENT = 64
VARIANTS = {"10,000 tasks": 10_000, "10 tasks": 10}
_NUM_BLOCKS = 1025


def measure(session: Session) -> Iterator[Record]:
    """Throughput of both, and what share of the extra time the prefills of the soft prompts take by their count.

    A prefill is cheapest in a pass with others and dearest alone; in the traffic it is something between. The share by
    the cheapest is the figure, that by the dearest stands beside it.
    """
    with session.start("engine", settings=_room_for(NUM_RESIDENT)) as engine:
        for number in session.rounds():
            seconds: dict[str, float] = {}
            loads: dict[str, int] = {}
            for index, (subject, num_tasks) in enumerate(VARIANTS.items()):
                workload = _zipf(session, 40_000 + 2 * number + index, num_tasks)
                run = engine.run(workload)
                seconds[subject], loads[subject] = run.seconds, run.counts["num_prefix_loads"]
                yield session.record(
                    MEASURE, subject, number, workload.num_output_tokens / run.seconds, loads=loads[subject]
                )
            many, few = VARIANTS
            loads_a_second = (loads[many] - loads[few]) / (seconds[many] - seconds[few])
            together, alone = (
                loads_a_second * _seconds_a_load(engine, session, number, clients)
                for clients in (session.sizes.concurrency, 1)
            )
            yield session.record(EXPLAINED, "engine", number, together, one_by_one=round(alone, 2))


def _room_for(num_prefixes: int) -> dict[str, object]:
    """Settings under which so many prefixes of one block fit."""
    return {
        "kv_cache_gib": None,
        "num_kv_blocks": _NUM_BLOCKS,
        "max_prefix_share": (num_prefixes + 0.5) / (_NUM_BLOCKS - 1),
    }


def _zipf(session: Session, seed: int, num_tasks: int) -> Workload:
    """Requests whose task of rank r is asked in proportion to 1/r."""
    sizes = session.sizes
    drawn = session.workload(seed, num_requests=sizes.num_zipf, num_output=16)
    weights = [1 / rank for rank in range(1, num_tasks + 1)]
    tasks = random.Random(seed).choices(range(num_tasks), weights, k=sizes.num_zipf)
    return replace(
        drawn,
        requests=tuple(replace(each, task=task) for each, task in zip(drawn.requests, tasks, strict=True)),
        num_clients=sizes.concurrency,
    )


def _seconds_a_load(engine: ContenderProcess, session: Session, number: int, num_clients: int) -> float:
    """What making one prefix resident takes: requests of new tasks against the same requests of one task."""
    seconds = {}
    for num_tasks in (32, 1):
        drawn = session.workload(
            50_000 + number, num_requests=32, num_tasks=num_tasks, num_output=1, num_clients=num_clients
        )
        first = 1_000_000 * (number + 1) + 1_000 * num_clients  # tasks that nobody has asked for
        moved = tuple(replace(each, task=first + (each.task or 0)) for each in drawn.requests)
        seconds[num_tasks] = engine.run(replace(drawn, requests=moved)).seconds
    return max(0.0, seconds[32] - seconds[1]) / 31
