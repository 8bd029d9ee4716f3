"""What `model` means: the base model, or one version of a task. Resolved once a request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prompts_store.errors import InvalidName, NotFound
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import VersionRecord
from server.api.access.caller import Caller
from server.api.errors import ModelNotFound
from server.model.prefix import Prefix
from server.soft_prompts.catalog import TaskCatalog

_OF_BASE = Manifest()


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What answers a request. For the base model `record` is None, and so is its one prefix.

    Every prompt is run behind each of `prefixes`, of which an ensemble has several; they answer as one. `alias` is the
    one that was asked for, `shadow` the version to be compared with, where there is one.
    """

    record: VersionRecord | None = None
    prefixes: tuple[Prefix | None, ...] = (None,)
    alias: str | None = None
    shadow: VersionRecord | None = None

    @property
    def task(self) -> str:
        """The task's name; empty for the base model."""
        return "" if self.record is None else self.record.task

    @property
    def manifest(self) -> Manifest:
        """The version's template, labels and defaults; the base model has none."""
        return _OF_BASE if self.record is None else self.record.manifest

    @property
    def is_ensemble(self) -> bool:
        """Whether several versions answer as one."""
        return len(self.prefixes) > 1

    @property
    def prefix_lengths(self) -> tuple[int, ...]:
        """Length of each soft prompt in tokens."""
        return tuple(0 if prefix is None else prefix.num_virtual_tokens for prefix in self.prefixes)

    @property
    def num_virtual_tokens(self) -> int:
        """Positions that the soft prompt takes before a text; of several, the longest."""
        return max(self.prefix_lengths)

    @property
    def headers(self) -> dict[str, str]:
        """Response headers that name what answered."""
        if self.record is None:
            return {}
        return {
            "x-softprompt-task": self.record.task,
            "x-softprompt-version": str(self.record.version),
            "x-softprompt-digest": self.record.digest,
        }


async def resolve_target(
    catalog: TaskCatalog, base_names: Collection[str], caller: Caller, model: str, sticky_key: bytes | None = None
) -> Target:
    """Look up what `model` names now; of several versions, the one for this sticky key, or any by weight.

    Raises `ModelNotFound`, `Forbidden`, and `StoreUnavailable` for what only the store knows.
    """
    if model in base_names:
        caller.check_base_model()
        return Target()
    try:
        reference = TaskReference.parse(model)
    except InvalidName as error:
        raise ModelNotFound("the model is neither the base model nor a task reference") from error
    caller.check_task(reference.task)
    try:
        served = await catalog.resolve(reference, sticky_key)
    except NotFound as error:
        raise ModelNotFound(str(error), code=error.code) from error
    return Target(served.record, served.prefixes, reference.alias, served.shadow)
