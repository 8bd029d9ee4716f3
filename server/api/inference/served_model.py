"""The model that serves a request: the base model, or one version of a task. Resolved once per request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prompts_store.base_names import is_base_name
from prompts_store.checkpoint_records import TaskType
from prompts_store.errors import InvalidName, NotFound
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import VersionRecord
from server.api.access.caller import Caller
from server.api.errors import ModelNotFound
from server.model.heads.head import Head
from server.model.prefix import Prefix, PrefixKind
from server.soft_prompts.catalog import TaskCatalog
from server.soft_prompts.part_cache import Part

_OF_BASE = Manifest()


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """The base model, a version or an ensemble. The base model has no `record` and no `parts`.

    The engine runs every prompt behind the prefix of each of `parts`. Only an ensemble has several, whose answers are
    combined.
    `alias` is the alias in the request, if any. `shadow` is the version to compare with, if any.
    """

    record: VersionRecord | None = None
    parts: tuple[Part, ...] = ()
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
    def prefixes(self) -> tuple[Prefix | None, ...]:
        """The soft prompt of each part; of the base model one None."""
        return tuple(part.prefix for part in self.parts) or (None,)

    @property
    def heads(self) -> tuple[Head, ...]:
        """The head of each part; none of a model that generates text."""
        return tuple(part.head for part in self.parts if part.head is not None)

    @property
    def task_type(self) -> TaskType | None:
        """The task type of a version with a head; None of a model that generates text."""
        return None if self.record is None else self.record.head_type

    @property
    def is_ensemble(self) -> bool:
        """Whether several versions answer as one."""
        return len(self.parts) > 1

    @property
    def prefix_lengths(self) -> tuple[int, ...]:
        """Length of each soft prompt in virtual tokens."""
        return tuple(0 if prefix is None else prefix.num_virtual_tokens for prefix in self.prefixes)

    @property
    def num_virtual_tokens(self) -> int:
        """Length of the longest soft prompt in virtual tokens."""
        return max(self.prefix_lengths)

    @property
    def num_key_value_tokens(self) -> int:
        """Length of the longest soft prompt of keys and values, which an encoder-decoder has before its output."""
        kinds = [(prefix.kind, prefix.num_virtual_tokens) for prefix in self.prefixes if prefix is not None]
        return max((length for kind, length in kinds if kind is PrefixKind.KEY_VALUES), default=0)

    @property
    def headers(self) -> dict[str, str]:
        """Response headers that name the version."""
        if self.record is None:
            return {}
        return {
            "x-softprompt-task": self.record.task,
            "x-softprompt-version": str(self.record.version),
            "x-softprompt-digest": self.record.digest,
        }


async def resolve_model(
    catalog: TaskCatalog,
    base_names: Collection[str],
    caller: Caller,
    model: str | None,
    sticky_key: bytes | None = None,
) -> ServedModel:
    """Look up `model`; None is the base model.

    Among several versions of an alias, the sticky key chooses one; without it, chance by weight.

    Raises `ModelNotFound`, `Forbidden`, and `StoreUnavailable` if the name is not in memory.
    """
    if model is None or is_base_name(model, base_names):
        caller.check_base_model()
        return ServedModel()
    try:
        reference = TaskReference.parse(model)
    except InvalidName as error:
        raise ModelNotFound(
            "model is neither a name of the base model nor a task reference (task, task@3 or task@alias)"
        ) from error
    caller.check_task(reference.task)
    try:
        found = await catalog.resolve(reference, sticky_key)
    except NotFound as error:
        raise ModelNotFound(str(error), code=error.code) from error
    return ServedModel(found.record, found.parts, reference.alias, found.shadow)
