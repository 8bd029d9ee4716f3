"""The store against a model of it in dictionaries: any sequence of calls gives the same answers and the same errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from prompts_store import maintenance
from prompts_store.errors import NotFound, StoreError, TaskExists, VersionInUse
from prompts_store.manifest import Manifest
from prompts_store.names import PRODUCTION
from prompts_store.records import AliasTarget
from prompts_store.store import Store
from tests.prompts_store import postgres
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.conftest import EMPTY_ALL

F = BASE.fingerprint
CHECKPOINTS = [checkpoint(seed=seed) for seed in range(3)]
TASKS = st.sampled_from(["a", "b"])
ALIASES = st.sampled_from([PRODUCTION, "canary"])
NUMBERS = st.integers(1, 6)
TARGETS = st.dictionaries(NUMBERS, st.integers(1, 3), min_size=1, max_size=3).map(lambda weights: of(weights))


def of(weights: dict[int, int]) -> tuple[AliasTarget, ...]:
    return tuple(AliasTarget(version, weights[version]) for version in sorted(weights))


@dataclass
class ModelTask:
    """`live` maps version to seed. `moves` is each alias's undo stack; None on top is an alias that does not exist."""

    exists: bool = False
    last: int = 0
    live: dict[int, int] = field(default_factory=dict)
    moves: dict[str, list[tuple[AliasTarget, ...] | None]] = field(default_factory=dict)

    def aliases(self) -> dict[str, tuple[AliasTarget, ...]]:
        return {alias: stack[-1] for alias, stack in self.moves.items() if stack[-1] is not None}

    def move(self, alias: str, targets: tuple[AliasTarget, ...] | None) -> None:
        self.moves.setdefault(alias, []).append(targets)

    def all_live(self, targets: tuple[AliasTarget, ...] | None) -> bool:
        return targets is not None and all(target.version in self.live for target in targets)

    def names(self, number: int) -> bool:
        return any(target.version == number for targets in self.aliases().values() for target in targets)

    def production(self) -> int | None:
        targets = self.aliases().get(PRODUCTION, ())
        return max(targets, key=lambda target: (target.weight, -target.version)).version if targets else None


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.store = Store.open(url)
        self.model = {name: ModelTask() for name in ("a", "b")}
        self.etags: dict[tuple[str, str], str] = {}

    def teardown(self) -> None:
        problems = maintenance.verify(self.store).problems
        self.store.close()
        assert problems == ()

    @rule(name=TASKS)
    def create(self, name: str) -> None:
        task = self.model[name]
        try:
            self.store.create_task(F, name)
            assert not task.exists
        except TaskExists:
            assert task.exists
        task.exists = True

    @rule(name=TASKS)
    def delete(self, name: str) -> None:
        task = self.model[name]
        try:
            self.store.delete_task(F, name)
        except NotFound:
            assert not task.exists
            return
        assert task.exists
        for alias in task.aliases():
            task.move(alias, None)
        task.exists = False
        task.live.clear()

    @rule()
    def collect_garbage(self) -> None:
        """What it frees is nothing that anyone could still ask for."""
        maintenance.gc(self.store, grace_s=0.0)

    @rule(name=TASKS, seed=st.integers(0, 2), promote=st.booleans())
    def publish(self, name: str, seed: int, promote: bool) -> None:
        task = self.model[name]
        known = next((number for number, other in task.live.items() if other == seed), None)
        published = self.store.publish(name, CHECKPOINTS[seed], Manifest(), promote=promote)
        number = published.version.version
        if known is None:
            promote = promote or not task.live
            task.last += 1
            task.live[task.last] = seed
        task.exists = True
        assert published.created == (known is None)
        assert number == (known or task.last)
        if promote and [target.version for target in task.aliases().get(PRODUCTION, ())] != [number]:
            task.move(PRODUCTION, (AliasTarget(number),))
        assert published.promoted == (task.production() == number)

    @rule(name=TASKS, number=NUMBERS)
    def retire(self, name: str, number: int) -> None:
        task = self.model[name]
        try:
            self.store.retire_version(F, name, number)
        except VersionInUse:
            assert task.names(number)
        except NotFound:
            assert number not in task.live
        else:
            assert not task.names(number)
            del task.live[number]

    @rule(name=TASKS, alias=ALIASES, to=TARGETS, conditional=st.booleans())
    def put(self, name: str, alias: str, to: tuple[AliasTarget, ...], conditional: bool) -> None:
        """A conditional move carries the last etag seen of this alias, which may be stale."""
        task = self.model[name]
        etag = self.etags.get((name, alias)) if conditional else None
        current = self.current_etag(name, alias)
        try:
            record = self.store.put_alias(F, name, alias, to, if_match=etag, must_not_exist=False)
        except StoreError:
            assert not task.all_live(to) or etag not in (None, current)
            return
        assert task.all_live(to)
        assert etag in (None, current)
        task.move(alias, to)
        self.etags[name, alias] = record.etag

    @rule(name=TASKS, alias=ALIASES)
    def remove(self, name: str, alias: str) -> None:
        task = self.model[name]
        try:
            self.store.delete_alias(F, name, alias, if_match=None)
        except NotFound:
            assert alias not in task.aliases()
            return
        task.move(alias, None)

    @rule(name=TASKS, alias=ALIASES)
    def rollback(self, name: str, alias: str) -> None:
        task = self.model[name]
        current = task.aliases().get(alias)
        below = task.moves.get(alias, [])[:-1]
        while below and (below[-1] == current or not task.all_live(below[-1])):
            below.pop()
        try:
            record = self.store.rollback(F, name, alias)
        except StoreError:
            assert current is None or not below
            return
        assert record.targets == below[-1]
        task.moves[alias] = below

    @invariant()
    def agrees(self) -> None:
        assert [task.name for task in self.store.list_tasks(F)] == [n for n, task in self.model.items() if task.exists]
        for name, task in self.model.items():
            if task.exists:
                self.task_agrees(name, task)

    def task_agrees(self, name: str, task: ModelTask) -> None:
        record = self.store.get_task(F, name)
        assert record.latest_version == max(task.live, default=None)
        assert record.production_version == task.production()
        assert {alias.alias: alias.targets for alias in self.store.list_aliases(F, name)} == task.aliases()
        assert [version.version for version in self.store.list_versions(F, name)] == sorted(task.live, reverse=True)
        everything = self.store.list_versions(F, name, include_retired=True)
        assert [version.version for version in everything] == list(range(task.last, 0, -1))

    def current_etag(self, name: str, alias: str) -> str | None:
        try:
            return self.store.get_alias(F, name, alias).etag
        except NotFound:
            return None


def test_any_sequence_of_calls_on_sqlite(tmp_path: Path) -> None:
    numbers = count()
    run_machine(lambda: str(tmp_path / f"store-{next(numbers)}.db"), num_examples=15)


def test_any_sequence_of_calls_on_postgres(migrated_postgres: str) -> None:
    def emptied() -> str:
        postgres.execute(migrated_postgres, EMPTY_ALL)
        return migrated_postgres

    run_machine(emptied, num_examples=10)


def run_machine(new_store: Callable[[], str], *, num_examples: int) -> None:
    """Run the machine on an empty store each time."""
    limits = settings(max_examples=num_examples, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(lambda: StoreMachine(new_store()), settings=limits)
