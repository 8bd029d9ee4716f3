"""What `model` means: the base model, or one version of a task. Resolved once a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompts_store.errors import InvalidName, NotFound
from prompts_store.names import TaskReference
from prompts_store.records import Manifest, VersionRecord
from server.api.caller import Caller
from server.api.errors import ModelNotFound
from server.model.prefix import Prefix

if TYPE_CHECKING:
    from server.api.services import Services


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What answers a request. For the base model `record` and `prefix` are None.

    `alias` is the one that was asked for, `shadow` the version to be compared with, where there is one.
    """

    record: VersionRecord | None = None
    prefix: Prefix | None = None
    alias: str | None = None
    shadow: VersionRecord | None = None

    @property
    def task(self) -> str:
        """The task's name; empty for the base model."""
        return "" if self.record is None else self.record.task

    @property
    def manifest(self) -> Manifest:
        """The version's template, labels and defaults; the base model has none."""
        return Manifest() if self.record is None else self.record.manifest

    @property
    def num_virtual_tokens(self) -> int:
        """Length of the soft prompt in tokens."""
        return 0 if self.prefix is None else self.prefix.num_virtual_tokens

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


async def resolve_target(services: Services, caller: Caller, model: str, sticky_key: bytes | None = None) -> Target:
    """Look up what `model` names now; of several versions, the one for this sticky key, or any by weight.

    Raises `ModelNotFound`, `Forbidden`, and `StoreUnavailable` for what only the store knows.
    """
    if model in services.base_names:
        caller.check_base_model()
        return Target()
    try:
        reference = TaskReference.parse(model)
    except InvalidName as error:
        raise ModelNotFound("the model is neither the base model nor a task reference") from error
    caller.check_task(reference.task)
    try:
        served = await services.catalog.resolve(reference, sticky_key)
    except NotFound as error:
        raise ModelNotFound(str(error), code=error.code) from error
    return Target(served.record, served.prefix, reference.alias, served.shadow)
