"""What came of tuning on this server since it started, for its metrics."""

from __future__ import annotations

from collections import Counter

from prompts_store.tuning_records import JobStatus


class Tally:
    """Counts of jobs by how they ended, of optimiser steps, and of seconds on the engine's thread.

    All methods belong to the event loop.
    """

    def __init__(self) -> None:
        self.ended: Counter[JobStatus] = Counter()
        self.num_steps = 0
        self.busy_s = 0.0
