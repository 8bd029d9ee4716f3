"""How cost grows: the engine's throughput along one axis at a time, and the time of a step along the context."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.against_lower_bound import decode_step_seconds
from benchmarks.process import ContenderProcess
from benchmarks.promises.virtual_tokens import first_token_seconds
from benchmarks.records import Record
from benchmarks.session import Session

CONCURRENCY = "growth with concurrency tokens/s"
TASKS = "growth with tasks tokens/s"
VIRTUAL = "growth with virtual tokens tokens/s"
FIRST_TOKEN = "growth of the first token with virtual tokens ms"
CONTEXT = "growth of a decode step with context ms"

_CONCURRENCIES = (1, 2, 4, 8, 16, 32, 64)
_TASKS = (1, 8, 64, 192)
_VIRTUAL_TOKENS = (0, 16, 64, 256)
_CONTEXTS = (32, 128, 384)
_NUM_OUTPUT = 12
_PROMPT = (32, 32)


def measure(session: Session) -> Iterator[Record]:
    """One point after the other, all curves in every round. Soft prompts are resident before they are measured."""
    with session.start("engine", max_num_seqs=64) as engine:
        for number in session.rounds():
            yield from _along_concurrency(session, engine, number)
            yield from _along_tasks(session, engine, number)
            yield from _along_virtual_tokens(session, engine, number)
            yield from _along_context(session, engine, number)


def _along_concurrency(session: Session, engine: ContenderProcess, number: int) -> Iterator[Record]:
    for clients in _CONCURRENCIES:
        workload = session.workload(
            70_000 + 1_000 * number + clients,
            num_requests=max(4, clients),
            num_output=_NUM_OUTPUT,
            prompt_lengths=_PROMPT,
            num_clients=clients,
        )
        speed = workload.num_output_tokens / engine.run(workload).seconds
        yield session.record(CONCURRENCY, "engine", number, speed, x=clients)


def _along_tasks(session: Session, engine: ContenderProcess, number: int) -> Iterator[Record]:
    for num_tasks in _TASKS:
        if number == 0:
            engine.run(
                session.workload(3, num_requests=num_tasks, num_tasks=num_tasks, num_output=1, prompt_lengths=(4, 4))
            )
        workload = session.workload(
            80_000 + 1_000 * number + num_tasks,
            num_requests=max(64, num_tasks),
            num_tasks=num_tasks,
            num_output=_NUM_OUTPUT,
            prompt_lengths=_PROMPT,
            num_clients=32,
        )
        speed = workload.num_output_tokens / engine.run(workload).seconds
        yield session.record(TASKS, "engine", number, speed, x=num_tasks)


def _along_virtual_tokens(session: Session, engine: ContenderProcess, number: int) -> Iterator[Record]:
    for virtual in _VIRTUAL_TOKENS:
        if number == 0:
            engine.run(session.workload(4, num_requests=8, num_virtual_tokens=virtual, num_output=1))
        batch = session.workload(
            90_000 + 1_000 * number + virtual,
            num_requests=32,
            num_virtual_tokens=virtual,
            num_output=_NUM_OUTPUT,
            prompt_lengths=_PROMPT,
        )
        speed = batch.num_output_tokens / engine.run(batch).seconds
        yield session.record(VIRTUAL, "engine", number, speed, x=virtual)
        singles = session.workload(
            95_000 + 1_000 * number + virtual,
            num_requests=4,
            num_virtual_tokens=virtual,
            num_output=1,
            prompt_lengths=_PROMPT,
            num_clients=1,
        )
        first = statistics.median(first_token_seconds(engine.run(singles)))
        yield session.record(FIRST_TOKEN, "engine", number, first * 1e3, x=virtual)


def _along_context(session: Session, engine: ContenderProcess, number: int) -> Iterator[Record]:
    for context in _CONTEXTS:
        workload = session.workload(
            97_000 + 1_000 * number + context,
            num_requests=8,
            num_output=_NUM_OUTPUT,
            prompt_lengths=(context, context),
        )
        step = decode_step_seconds(engine.run(workload))
        yield session.record(CONTEXT, "engine", number, step * 1e3, x=context)
