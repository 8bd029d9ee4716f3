"""A process that forks children which write to a store until they are killed.

`python -m tests.prompts_store.crash_worker`; each line on standard input is a job, answered by the child's process id
and, once the child has ended, by another line. A child notes each operation in the job's journal before it begins and
after the store has acknowledged it; lines of the journal survive the child, as they are in the kernel's hands.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Self

from prompts_store.errors import StoreUnavailable
from prompts_store.store import Store
from tests.prompts_store.crash_model import Model, Operation

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Journal:
    """What a child had done when it ended: acknowledged operations, and one that it had only begun."""

    is_ready: bool
    acknowledged: tuple[Operation, ...]
    begun: Operation | None
    error: str | None

    @classmethod
    def read(cls, path: Path) -> Self:
        lines = path.read_text().splitlines() if path.exists() else []
        begun, done, error = [], 0, None
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "begin":
                begun.append(Operation.from_json(json.loads(rest)))
            elif word == "done":
                done += 1
            elif word == "error":
                error = json.loads(rest)
        return cls("ready" in lines, tuple(begun[:done]), begun[done] if done < len(begun) else None, error)


class Worker:
    """The forking process, seen from the test."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.prompts_store.crash_worker"]
        self._process = Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True)

    def begin(self, url: str, journal: Path, seed: int, history: tuple[Operation, ...]) -> int:
        """Fork a child that goes on after `history`; return its process id."""
        job = {"url": url, "journal": str(journal), "seed": seed, "history": [asdict(each) for each in history]}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def end(self) -> None:
        """Wait until the child has ended."""
        assert self._line() == "ended"

    def kill(self, child: int) -> None:
        """Kill the child and wait until it has ended."""
        os.kill(child, signal.SIGKILL)
        self.end()

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def work(url: str, journal: str, seed: int, history: list[dict[str, object]]) -> None:
    """Write until the end, which comes from outside or with the database."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    model = Model()
    for fields in history:
        model = model.apply(Operation.from_json(fields))
    choice = random.Random(seed)
    try:
        with Store.open(url) as store:
            os.write(descriptor, b"ready\n")
            while True:
                operation = model.propose(choice)
                os.write(descriptor, f"begin {json.dumps(asdict(operation))}\n".encode())
                operation.run(store)
                os.write(descriptor, b"done\n")
                model = model.apply(operation)
    except StoreUnavailable:
        pass
    except BaseException:
        os.write(descriptor, f"error {json.dumps(traceback.format_exc())}\n".encode())


def main() -> None:
    for line in sys.stdin:
        child = os.fork()  # this process has one thread and no connection
        if child == 0:
            work(**json.loads(line))
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
