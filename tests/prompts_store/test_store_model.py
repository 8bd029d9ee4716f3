"""The store against a model of it in dictionaries: any sequence of calls gives the same answers and the same errors."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from prompts_store.errors import NotFound, StoreError, TaskExists, VersionInUse
from prompts_store.names import PRODUCTION
from prompts_store.records import Manifest
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint
CHECKPOINTS = [checkpoint(seed=seed) for seed in range(3)]
TASKS = st.sampled_from(["a", "b"])
ALIASES = st.sampled_from([PRODUCTION, "canary"])
NUMBERS = st.integers(1, 6)


@dataclass
class ModelTask:
    """`live` maps version to seed. `moves` is each alias's undo stack; None on top is an alias that does not exist."""

    exists: bool = False
    last: int = 0
    live: dict[int, int] = field(default_factory=dict)
    moves: dict[str, list[int | None]] = field(default_factory=dict)

    def aliases(self) -> dict[str, int]:
        return {alias: stack[-1] for alias, stack in self.moves.items() if stack[-1] is not None}

    def move(self, alias: str, version: int | None) -> None:
        self.moves.setdefault(alias, []).append(version)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(str(Path(self.folder.name) / "store.db"))
        self.model = {name: ModelTask() for name in ("a", "b")}
        self.etags: dict[tuple[str, str], str] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

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

    @rule(name=TASKS, seed=st.integers(0, 2), promote=st.booleans())
    def publish(self, name: str, seed: int, promote: bool) -> None:
        task = self.model[name]
        known = next((number for number, other in task.live.items() if other == seed), None)
        published = self.store.publish(BASE, name, CHECKPOINTS[seed], Manifest(), promote=promote)
        number = published.version.version
        if known is None:
            promote = promote or not task.live
            task.last += 1
            task.live[task.last] = seed
        task.exists = True
        assert published.created == (known is None)
        assert number == (known or task.last)
        if promote and task.aliases().get(PRODUCTION) != number:
            task.move(PRODUCTION, number)
        assert published.promoted == (task.aliases().get(PRODUCTION) == number)

    @rule(name=TASKS, number=NUMBERS)
    def retire(self, name: str, number: int) -> None:
        task = self.model[name]
        try:
            self.store.retire_version(F, name, number)
        except VersionInUse:
            assert number in task.aliases().values()
        except NotFound:
            assert number not in task.live
        else:
            assert number not in task.aliases().values()
            del task.live[number]

    @rule(name=TASKS, alias=ALIASES, number=NUMBERS, conditional=st.booleans())
    def put(self, name: str, alias: str, number: int, conditional: bool) -> None:
        """A conditional move carries the last etag seen of this alias, which may be stale."""
        task = self.model[name]
        etag = self.etags.get((name, alias)) if conditional else None
        current = self.current_etag(name, alias)
        try:
            record = self.store.put_alias(F, name, alias, number, if_match=etag, must_not_exist=False)
        except StoreError:
            assert number not in task.live or etag not in (None, current)
            return
        assert number in task.live
        assert etag in (None, current)
        task.move(alias, number)
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
        while below and (below[-1] == current or below[-1] not in task.live):
            below.pop()
        try:
            record = self.store.rollback(F, name, alias)
        except StoreError:
            assert current is None or not below
            return
        assert record.version == below[-1]
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
        assert record.production_version == task.aliases().get(PRODUCTION)
        assert {alias.alias: alias.version for alias in self.store.list_aliases(F, name)} == task.aliases()
        assert [version.version for version in self.store.list_versions(F, name)] == sorted(task.live, reverse=True)
        everything = self.store.list_versions(F, name, include_retired=True)
        assert [version.version for version in everything] == list(range(task.last, 0, -1))

    def current_etag(self, name: str, alias: str) -> str | None:
        try:
            return self.store.get_alias(F, name, alias).etag
        except NotFound:
            return None


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
