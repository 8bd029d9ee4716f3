"""How much is measured: the full benchmark, or a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of rounds, requests and tokens.

    A round of the comparison asks for as many requests as are computed at once (`concurrency`), the next round for the
    next of them. `num_output` is tokens an answer. Contenders that compute one request, or one task, after the other
    are as fast with some as with all: they are asked `num_sequential` requests, or `num_batched_tasks` tasks.
    """

    rounds: int
    num_requests: int = 64
    num_output: int = 48
    concurrency: int = 32
    num_sequential: int = 4
    num_batched_tasks: int = 1
    num_first_tokens: int = 8
    num_flood_output: int = 160
    num_probes: int = 20
    num_zipf: int = 512


FULL = Sizes(rounds=3)
QUICK = Sizes(
    rounds=1,
    num_requests=32,
    num_output=12,
    num_sequential=3,
    num_batched_tasks=1,
    num_first_tokens=4,
    num_flood_output=48,
    num_zipf=128,
)
