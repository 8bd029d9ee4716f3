"""`/v1/tasks` and what is below it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from server.api.wire.bodies import RequestBody, ResponseBody


class CreateTask(RequestBody):
    """A task without versions."""

    name: str
    """1 to 64 characters of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit."""
    description: str = ""


class Task(ResponseBody):
    """A task."""

    object: Literal["task"]
    name: str
    description: str
    created_at: datetime
    latest_version: int | None
    """The highest number of a live version."""
    production_version: int | None
    """The version that the bare task name means."""


class TaskList(ResponseBody):
    """A page of tasks, by name."""

    object: Literal["list"]
    data: list[Task]
    has_more: bool
    """Whether tasks follow: ask for those `after` the last name."""


class Purged(ResponseBody):
    """What a purge removed for good."""

    object: Literal["task.purged"]
    task: str
    num_versions: int
    num_tensors: int
    num_tensor_bytes: int
    num_shared_tensors: int
    """Tensors that stay, as other tasks have the same bytes."""
    num_alias_moves: int
    num_jobs: int
    """Tuning jobs."""
    num_files: int
    """Files that only these jobs named."""
    log_is_clear: bool
    """Whether no copy is left in the database's own log either; false where that is up to a database server."""
    num_interrupted_runs: int
    """States of interrupted `softprompt tune` runs, in the server's data folder if the database lies there."""


class VersionManifest(ResponseBody):
    """What a version carries beside its tensors."""

    template: str | None
    """Holds one literal `{input}`; null: the input is the prompt."""
    labels: list[str]
    stop: list[str]
    add_special_tokens: bool | None
    """null: as the tokenizer does by default."""
    defaults: dict[str, Any]
    """Generation parameters for requests that leave them out."""
    task_index: int | None
    metrics: dict[str, Any]
    note: str
    parent_version: int | None
    """The version of the same task that was in production when this one was judged, or that its publisher named."""
    training_data_digest: str | None
    """sha256 of the data it was trained on."""


class Version(ResponseBody):
    """One immutable version of a task."""

    object: Literal["task.version"]
    task: str
    version: int
    digest: str
    """Content digest: sha256 of everything that changes an answer."""
    prefix_digest: str | None
    """sha256 of what the model sees of the soft prompt; null for an ensemble."""
    peft_type: str | None
    """null for an ensemble."""
    num_virtual_tokens: int
    """Of an ensemble, those of its longest member."""
    members: list[int]
    """The task's versions that answer together for this one, an ensemble; empty for one with its own soft prompt."""
    base_model_name: str
    """What the checkpoint called its base model."""
    base_fingerprint: str
    manifest: VersionManifest
    created_at: datetime
    created_by: str
    retired_at: datetime | None


class PublishedVersion(Version):
    """The answer to a publish."""

    created: bool
    """False where the same content already was a live version."""
    promoted: bool
    """Whether `production` points here now."""


class VersionList(ResponseBody):
    """A page of versions, newest first."""

    object: Literal["list"]
    data: list[Version]
    has_more: bool
    """Whether older ones follow: ask for those `before` the last number."""


class AliasTarget(RequestBody):
    """One of the versions that an alias names."""

    version: int = Field(ge=1, le=2**31 - 1)
    weight: int = Field(ge=1, le=1_000_000)
    """Of the sum of all weights, this is the version's share of the callers."""


class MoveAlias(RequestBody):
    """Where an alias is to point: give either `version` or `targets`."""

    version: int | None = Field(None, ge=1, le=2**31 - 1)
    targets: list[AliasTarget] | None = Field(None, min_length=1, max_length=8)
    """Several versions that share the callers, such as a canary's 90 and 10."""
    shadow_of: str | None = None
    """Makes this alias the shadow of another: its one version is run for comparison on that alias's requests."""
    reason: str = ""
    """Why, for the history."""


class RollBack(RequestBody):
    """Why an alias goes back."""

    reason: str = ""


class Agreement(ResponseBody):
    """How often a shadow's version answered as the alias did that it shadows, since this server's start.

    Compared are whole greedy answers and classifications, not streams or sampled answers.
    """

    num_compared: int
    num_agreed: int
    num_dropped: int
    """Left out, as the server was busy with requests."""
    num_failed: int
    """The shadow's version could not answer."""


class Alias(ResponseBody):
    """A movable name for one version, or a weighted few. The `ETag` header changes with every move."""

    object: Literal["task.alias"]
    task: str
    alias: str
    version: int
    """Of several targets, the one of the highest weight."""
    targets: list[AliasTarget]
    """In the order of their versions."""
    shadow_of: str | None
    updated_at: datetime
    updated_by: str
    reason: str
    agreement: Agreement | None = None
    """Of a shadow that is asked for by its name; else absent."""


class AliasList(ResponseBody):
    """All aliases of a task, by name."""

    object: Literal["list"]
    data: list[Alias]


class AliasMove(ResponseBody):
    """One move of an alias. A missing version means that the alias did not exist."""

    object: Literal["task.alias.move"]
    from_version: int | None
    to_version: int | None
    from_targets: list[AliasTarget]
    to_targets: list[AliasTarget]
    shadow_of: str | None
    moved_at: datetime
    moved_by: str
    reason: str


class AliasHistory(ResponseBody):
    """The latest moves of an alias, newest first."""

    object: Literal["list"]
    data: list[AliasMove]
