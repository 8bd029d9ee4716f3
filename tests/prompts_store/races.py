"""Many writers at the same place at the same moment. `make crash-test` runs the long form."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from prompts_store.errors import PreconditionFailed
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint
TASK = "race"
NUM_STORES = 5
"""The writers share these, as threads of a server share its connections; the stores know nothing of each other."""

_Result = TypeVar("_Result")


def race_for_an_alias(url: str, num_writers: int, num_rounds: int) -> list[int]:
    """Let writers move one alias with the same etag, round by round; return how many were accepted in each."""
    with ExitStack() as stack:
        stores = [stack.enter_context(Store.open(url)) for _ in range(NUM_STORES)]
        number = stores[0].publish(TASK, checkpoint(), Manifest(), promote=True).version.version

        def swap(writer: int, etag: str) -> bool:
            store = stores[writer % NUM_STORES]
            try:
                store.put_alias(F, TASK, "production", number, if_match=etag, must_not_exist=False)
            except PreconditionFailed:
                return False
            return True

        winners = []
        with ThreadPoolExecutor(num_writers) as pool:
            for _ in range(num_rounds):
                etag = stores[0].get_alias(F, TASK, "production").etag
                winners.append(sum(_at_once(pool, num_writers, lambda writer, etag=etag: swap(writer, etag))))
        return winners


def race_to_publish(url: str, num_writers: int, num_rounds: int) -> list[int]:
    """Let writers publish versions of one task, different ones each; return the numbers they were given, sorted."""
    with ExitStack() as stack:
        stores = [stack.enter_context(Store.open(url)) for _ in range(NUM_STORES)]

        def publish(writer: int) -> list[int]:
            store = stores[writer % NUM_STORES]
            contents = [checkpoint(seed=1_000 * writer + turn) for turn in range(num_rounds)]
            return [store.publish(TASK, content, Manifest()).version.version for content in contents]

        with ThreadPoolExecutor(num_writers) as pool:
            return sorted(number for numbers in _at_once(pool, num_writers, publish) for number in numbers)


def _at_once(pool: ThreadPoolExecutor, num_threads: int, call: Callable[[int], _Result]) -> list[_Result]:
    barrier = threading.Barrier(num_threads)

    def run(number: int) -> _Result:
        barrier.wait()
        return call(number)

    return list(pool.map(run, range(num_threads)))
