"""The state that all parts of the benchmark share during one call: model, threads, sizes and machine lock."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks import gguf_file
from benchmarks.contender import Setup
from benchmarks.machine_lock import MachineLock
from benchmarks.models import BenchModel
from benchmarks.process import ContenderProcess
from benchmarks.records import Record
from benchmarks.sizes import Sizes
from benchmarks.workload import Workload, make_workload


@dataclass(frozen=True, slots=True)
class Session:
    """One model with one number of threads. `name` distinguishes the rounds of this call from those of other calls.

    `settings` apply to every contender, for example the device.
    """

    name: str
    model: BenchModel
    threads: int
    sizes: Sizes
    lock: MachineLock
    settings: dict[str, Any] = field(default_factory=dict)

    def rounds(self) -> Iterator[int]:
        """The numbers of the rounds. The machine is locked during each."""
        for number in range(self.sizes.rounds):
            with self.lock.measuring():
                yield number

    @contextmanager
    def start(
        self, contender: str, *, max_num_seqs: int | None = None, settings: dict[str, Any] | None = None
    ) -> Iterator[ContenderProcess]:
        """Start a contender and warm it up with eight requests. Raises `ContenderUnavailable`."""
        chosen = self.settings | (settings or {})
        if contender == "llama.cpp":
            gguf_file.prepare(self.model, chosen["weights"])
        setup = Setup(contender, self.model, self.threads, max_num_seqs or self.sizes.concurrency, chosen)
        with ContenderProcess(setup) as process:
            process.run(self.workload(1, num_requests=8, num_output=2))
            yield process

    def workload(self, seed: int, **changes: Any) -> Workload:
        """See `make_workload`."""
        return make_workload(self.model.vocab_size, seed=seed, **changes)

    def record(
        self, measure: str, subject: str, number: int, value: float, *, x: float | None = None, **notes: Any
    ) -> Record:
        """Return the record of a round, and report it as progress."""
        place = "" if x is None else f" at {x:g}"
        say(
            f"{self.model.name}, {self.threads} thread(s), round {number + 1}: {measure}, {subject}{place}: {value:.4g}"
        )
        return Record(measure, subject, self.model.name, self.threads, f"{self.name}-{number}", value, x, notes)


def say(text: str) -> None:
    """Print progress to standard error. Standard output has the table alone."""
    print(text, file=sys.stderr, flush=True)
