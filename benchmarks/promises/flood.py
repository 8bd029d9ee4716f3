"""Does one task's flood hold another task up? First tokens of one task, alone and while another sends 64 requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.against_lower_bound import decode_step_seconds
from benchmarks.contender import Run
from benchmarks.records import Record
from benchmarks.session import Session
from benchmarks.spread import percentile
from benchmarks.workload import BenchRequest, Workload

MEASURE = "full steps added to p95 of first token"
_NUM_FLOOD = 64
_FLOODING_TASK, _PROBING_TASK = 0, 1


def measure(session: Session) -> Iterator[Record]:
    """What the flood adds to the 95th percentile of the other task, in decode steps of a full batch."""
    sizes = session.sizes
    with session.start("engine", max_num_seqs=_NUM_FLOOD) as engine:
        for number in session.rounds():
            flood = session.workload(
                30_000 + number, num_requests=_NUM_FLOOD, num_tasks=1, num_output=sizes.num_flood_output
            )
            alone = engine.run(flood)
            step = decode_step_seconds(alone)
            again = session.workload(
                31_000 + number, num_requests=_NUM_FLOOD, num_tasks=1, num_output=sizes.num_flood_output
            )
            probes = _probes(session, number, alone.seconds)
            idle = percentile(_first_tokens(engine.run(replace(again, requests=probes))), 0.95)
            busy = engine.run(Workload((*again.requests, *probes), again.num_virtual_tokens))
            flooded = percentile(_first_tokens(busy), 0.95)
            yield session.record(
                MEASURE,
                "engine",
                number,
                (flooded - idle) / step,
                **{"idle p95 ms": round(idle * 1e3, 1), "flooded p95 ms": round(flooded * 1e3, 1)},
                **{"full step ms": round(step * 1e3, 1)},
            )


def _probes(session: Session, number: int, seconds: float) -> tuple[BenchRequest, ...]:
    """Single requests of the other task, spread over the time that the flood takes, from its first tenth on."""
    count = session.sizes.num_probes
    drawn = session.workload(32_000 + number, num_requests=count, num_output=2, prompt_lengths=(24, 24))
    return tuple(
        replace(request, task=_PROBING_TASK, start_s=seconds * (0.1 + 0.8 * place / count))
        for place, request in enumerate(drawn.requests)
    )


def _first_tokens(run: Run) -> list[float]:
    return [answer.token_s[0] - answer.sent_s for answer in run.answers if len(answer.tokens) == 2]
