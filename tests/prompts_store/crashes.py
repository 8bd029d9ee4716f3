"""Killing writers and servers at random moments, and racing writers. `make crash-test` runs the long form.

After each kill the store is opened as a server would open it, and must hold every acknowledged operation, the one that
was only begun either wholly or not at all, and nothing else; and verify must find it clean.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from prompts_store import maintenance
from prompts_store.store import Store
from tests.prompts_store import postgres
from tests.prompts_store.crash_model import Model, Operation
from tests.prompts_store.crash_worker import Journal, Worker
from tests.prompts_store.races import TASK, F, race_for_an_alias, race_to_publish

POINTS_A_STORE = 10
MAX_OPERATIONS = 8
MAX_DELAY_S = 0.02
NUM_RACERS = 50


@dataclass(slots=True)
class Tally:
    """What a run of kills saw. `completed` and `vanished` are what became of operations that were only begun."""

    num_points: int = 0
    num_acknowledged: int = 0
    completed: Counter[str] = field(default_factory=Counter)
    vanished: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        lists = [
            ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "none"
            for counts in (self.completed, self.vanished)
        ]
        return (
            f"{self.num_points} points, {self.num_acknowledged} acknowledged operations, all kept; begun only: "
            f"found whole {lists[0]}; found not at all {lists[1]}; nothing torn; verify clean "
            f"{self.num_points} times; {self.seconds:.0f} s"
        )


def kill_clients(worker: Worker, num_points: int, new_store: Callable[[], str], folder: Path, seed: int) -> Tally:
    """Kill the writer at random points, several in a row on each store. Raises AssertionError."""
    choice = random.Random(seed)

    def kill(child: int, journal: Path) -> None:
        if choice.random() > 0.1:  # one in ten dies while it opens the store
            wait_for_operations(journal, choice.randrange(MAX_OPERATIONS))
        time.sleep(choice.uniform(0.0, MAX_DELAY_S))
        worker.kill(child)

    return _run(worker, num_points, new_store, folder, choice, kill)


def kill_server(worker: Worker, num_points: int, cluster: postgres.Cluster, folder: Path, seed: int) -> Tally:
    """Kill the server's processes under a writer at random points, and start it again. Raises AssertionError."""
    choice = random.Random(seed)
    maintenance.upgrade(cluster.url())

    def kill(child: int, journal: Path) -> None:
        wait_for_operations(journal, choice.randrange(MAX_OPERATIONS))
        time.sleep(choice.uniform(0.0, MAX_DELAY_S))
        cluster.kill()
        worker.end()
        cluster.start()

    stores = iter([cluster.url()])
    return _run(worker, num_points, lambda: next(stores), folder, choice, kill, points_a_store=num_points)


def _run(
    worker: Worker,
    num_points: int,
    new_store: Callable[[], str],
    folder: Path,
    choice: random.Random,
    kill: Callable[[int, Path], None],
    points_a_store: int = POINTS_A_STORE,
) -> Tally:
    tally = Tally()
    began = time.monotonic()
    url, history = "", ()
    for point in range(num_points):
        if point % points_a_store == 0:
            url, history = new_store(), ()
        journal = folder / f"journal-{point}"
        kill(worker.begin(url, journal, choice.randrange(2**31), history), journal)
        history += settle(url, Journal.read(journal), history, tally)
        journal.unlink(missing_ok=True)
    tally.seconds = time.monotonic() - began
    return tally


def settle(url: str, journal: Journal, history: tuple[Operation, ...], tally: Tally) -> tuple[Operation, ...]:
    """Check a store after a kill and return the operations that it holds beyond `history`."""
    assert journal.error is None, journal.error
    model = Model()
    for operation in history + journal.acknowledged:
        model = model.apply(operation)
    tally.num_points += 1
    tally.num_acknowledged += len(journal.acknowledged)
    with Store.open(url) as store:
        with store.database.write():
            pass  # a server may still be at work for the dead client: it is done with the lock when we have had it
        problems = maintenance.verify(store).problems
        assert problems == (), problems
        without = model.check(store)
        if journal.begun is None:
            assert not without, without
            return journal.acknowledged
        kept = not model.apply(journal.begun).check(store)
        assert kept or not without, without
    if not without:
        tally.vanished[journal.begun.kind] += 1
        return journal.acknowledged
    tally.completed[journal.begun.kind] += 1
    return (*journal.acknowledged, journal.begun)


def wait_for_operations(journal: Path, num_operations: int) -> None:
    """Wait until the writer has opened the store and so many operations are acknowledged, however slow the machine."""
    deadline = time.monotonic() + 60
    while not (journal.exists() and (text := journal.read_bytes()).startswith(b"ready")):
        assert time.monotonic() < deadline, "the writer has not opened the store"
        time.sleep(0.001)
    while text.count(b"done\n") < num_operations:
        assert time.monotonic() < deadline, "the writer has stopped"
        time.sleep(0.001)
        text = journal.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sqlite", type=int, default=1000, help="points at which a writer to SQLite is killed")
    parser.add_argument("--postgres", type=int, default=300, help="the same with PostgreSQL")
    parser.add_argument("--server", type=int, default=20, help="points at which the PostgreSQL server is killed")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of fifty writers racing for one alias")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        worker = Worker()
        stack.callback(worker.close)
        files = (str(folder / f"store-{number}.db") for number in range(options.sqlite))
        print("SQLite, writer killed:", kill_clients(worker, options.sqlite, lambda: next(files), folder, options.seed))
        race("SQLite", str(folder / "race.db"), options.rounds)
        with postgres.private_cluster(fsync=True) as cluster:
            tally = kill_clients(worker, options.postgres, lambda: new_database(cluster), folder, options.seed)
            print("PostgreSQL, writer killed:", tally)
            race("PostgreSQL", new_database(cluster), options.rounds)
        # A cluster of its own: before it recovers, PostgreSQL syncs every file, of which each database has a thousand.
        with postgres.private_cluster(fsync=True) as cluster:
            tally = kill_server(worker, options.server, cluster, folder, options.seed)
            print("PostgreSQL, server killed:", tally)


def new_database(cluster: postgres.Cluster) -> str:
    url = postgres.create_database(cluster.url())
    maintenance.upgrade(url)
    return url


def race(name: str, url: str, num_rounds: int) -> None:
    began = time.monotonic()
    winners = race_for_an_alias(url, NUM_RACERS, num_rounds)
    assert winners == [1] * num_rounds, winners
    print(f"{name}, {NUM_RACERS} writers, one alias: one winner in each of {num_rounds} rounds; {_since(began)}")
    began = time.monotonic()
    with Store.open(url) as store:
        store.purge_task(F, TASK)
    numbers = race_to_publish(url, NUM_RACERS, num_rounds // 10)
    assert numbers == list(range(2, len(numbers) + 2)), numbers
    print(f"{name}, {NUM_RACERS} publishers, one task: {len(numbers)} numbers without gap or twin; {_since(began)}")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


if __name__ == "__main__":
    main()
