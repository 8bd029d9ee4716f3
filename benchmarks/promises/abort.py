"""How many steps after a client has gone are its blocks free?"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.records import Record
from benchmarks.session import Session

MEASURE = "steps until an abort's blocks are free"


def measure(session: Session) -> Iterator[Record]:
    """The most steps, over every stream of a batch dropped in turn while the others go on."""
    with session.start("aborting") as engine:
        for number in session.rounds():
            run = engine.run(session.workload(60_000 + number, num_requests=16, num_output=64))
            yield session.record(MEASURE, "engine", number, run.counts["most_steps"], aborted=run.counts["aborted"])
