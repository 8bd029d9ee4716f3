"""A process that publishes versions of one task, for the tests of two processes on one database.

Run as `python -m tests.prompts_store.publisher URL FIRST_SEED COUNT`; prints the version numbers it was given.
"""

from __future__ import annotations

import sys

from prompts_store.manifest import Manifest
from prompts_store.store import Store
from tests.prompts_store.checkpoints import checkpoint


def main(url: str, first_seed: int, count: int) -> None:
    """Publish and promote `count` versions."""
    with Store.open(url) as store:
        for seed in range(first_seed, first_seed + count):
            published = store.publish("t", checkpoint(seed=seed), Manifest(), promote=True)
            print(published.version.version, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
