"""What a store must show after a sequence of operations: for the crash tests, in the process that dies and in ours."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from prompts_store import maintenance
from prompts_store.checkpoint.digests import content_digest
from prompts_store.checkpoint_records import TensorKind
from prompts_store.errors import VersionNotFound
from prompts_store.manifest import Manifest
from prompts_store.records import AliasTarget
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint
TASK = "t"
ALIASES = ("production", "canary")


@dataclass(frozen=True, slots=True)
class Operation:
    """One write: `publish` of the content `seed`, `move` of an alias, `retire` of a version, or `gc`."""

    kind: str
    seed: int = 0
    alias: str = ""
    targets: tuple[tuple[int, int], ...] = ()
    version: int = 0

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        targets = tuple((version, weight) for version, weight in fields["targets"])
        return cls(**{**fields, "targets": targets})

    def run(self, store: Store) -> None:
        """Do it."""
        if self.kind == "publish":
            store.publish(TASK, checkpoint(seed=self.seed), Manifest(), promote=self.seed % 3 == 0)
        elif self.kind == "move":
            targets = [AliasTarget(version, weight) for version, weight in self.targets]
            store.put_alias(F, TASK, self.alias, targets, if_match=None, must_not_exist=False)
        elif self.kind == "retire":
            store.retire_version(F, TASK, self.version)
        else:
            maintenance.gc(store, grace_s=0.0)


@dataclass(slots=True)
class Model:
    """`live` maps a version to its seed; `retired` versions have content until gc makes them `freed`."""

    live: dict[int, int] = field(default_factory=dict)
    retired: set[int] = field(default_factory=set)
    freed: set[int] = field(default_factory=set)
    aliases: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def copy(self) -> Model:
        return Model(dict(self.live), set(self.retired), set(self.freed), dict(self.aliases))

    def apply(self, operation: Operation) -> Model:
        """Return what is to be seen after an operation."""
        after = self.copy()
        if operation.kind == "publish":
            number = len(after.live) + len(after.retired) + len(after.freed) + 1
            if operation.seed % 3 == 0 or not after.live:
                after.aliases["production"] = ((number, 1),)
            after.live[number] = operation.seed
        elif operation.kind == "move":
            after.aliases[operation.alias] = operation.targets
        elif operation.kind == "retire":
            del after.live[operation.version]
            after.retired.add(operation.version)
        else:
            after.freed |= after.retired
            after.retired = set()
        return after

    def propose(self, choice: random.Random) -> Operation:
        """Choose an operation that the store will accept."""
        named = {version for targets in self.aliases.values() for version, _ in targets}
        free = sorted(self.live.keys() - named)
        kind = choice.choices(["publish", "move", "retire", "gc"], [5, 3, 3, 1])[0]
        if kind == "retire" and free:
            return Operation("retire", version=choice.choice(free))
        if kind == "move" and self.live:
            versions = sorted(choice.sample(sorted(self.live), k=min(len(self.live), choice.randint(1, 3))))
            targets = tuple((version, choice.randint(1, 9)) for version in versions)
            return Operation("move", alias=choice.choice(ALIASES), targets=targets)
        if kind == "gc":
            return Operation("gc")
        return Operation("publish", seed=choice.randrange(2**31))

    def check(self, store: Store) -> list[str]:
        """Return how the store differs from this, nothing if it does not."""
        tasks = store.list_tasks(F)
        versions = store.list_versions(F, TASK, include_retired=True, limit=10_000) if tasks else ()
        aliases = store.list_aliases(F, TASK) if tasks else ()
        found = {alias.alias: tuple((target.version, target.weight) for target in alias.targets) for alias in aliases}
        gone = {version.version for version in versions if version.retired_at is not None}
        digests = {version.version: version.digest for version in versions if version.retired_at is None}
        freed = {number for number in gone if is_freed(store, number)}
        pairs = {
            "live": (digests, {number: digest(seed) for number, seed in self.live.items()}),
            "retired": (gone - freed, self.retired),
            "freed": (freed, self.freed),
            "aliases": (found, self.aliases),
        }
        return [f"{name}: {seen} instead of {wanted}" for name, (seen, wanted) in pairs.items() if seen != wanted]


def is_freed(store: Store, number: int) -> bool:
    try:
        store.load_content(F, TASK, number, include_retired=True)
    except VersionNotFound:
        return True
    return False


@cache
def digest(seed: int) -> str:
    return content_digest(TensorKind.EMBEDDINGS, checkpoint(seed=seed), Manifest())
