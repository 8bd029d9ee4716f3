"""A process whose disk fails and recovers while it writes to a store and reads from it.

Run as `python -m tests.prompts_store.faulty_writer DATABASE MODE CONTROL`, where MODE is "limit" for a file size limit
of the process, or what to write into the file CONTROL for the preloaded shim ("write" or "sync"). Prints how many
versions were published before the fault, how many publishes failed in it, and the last version after it.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prompts_store import maintenance
from prompts_store.errors import StoreFull, StoreUnavailable
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

NUM_TRIES = 3


def main(path: str, mode: str, control: str) -> None:
    with Store.open(path) as store:
        before = publish(store, 1).version
        with limited(Path(path)) if mode == "limit" else failing(Path(control), mode):
            is_full = mode == "write"  # of the three, what the shim answers with ENOSPC
            num_failed = sum(fails(store, seed, is_full=is_full) for seed in range(100, 100 + NUM_TRIES))
            reference = TaskReference.parse("t")
            read = store.resolve(BASE.fingerprint, reference)
            store.load_content(BASE.fingerprint, "t", read.version)
        assert maintenance.verify(store).problems == ()
        after = publish(store, 2).version
        assert maintenance.verify(store).problems == ()
    print(before, num_failed, after)


def publish(store: Store, seed: int):
    return store.publish("t", checkpoint(seed=seed), Manifest(), promote=True).version


def fails(store: Store, seed: int, *, is_full: bool) -> bool:
    try:
        publish(store, seed)
    except StoreUnavailable as error:
        assert error.__cause__ is not None
        assert isinstance(error, StoreFull) == is_full
        return True
    return False


@contextmanager
def failing(control: Path, mode: str) -> Iterator[None]:
    control.write_text(mode)
    yield
    control.write_text("")


@contextmanager
def limited(path: Path) -> Iterator[None]:
    """Let no file grow: every byte more is refused with EFBIG, the signal being ignored by Python."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(file.stat().st_size for file in path.parent.glob(path.name + "*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


if __name__ == "__main__":
    main(*sys.argv[1:])
