"""`/v1/tasks` and the paths below it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from server.api.wire.bodies import RequestBody, ResponseBody


class CreateTask(RequestBody):
    """A new task, without versions."""

    name: str
    """1 to 64 of the characters a-z, 0-9, '.', '_' and '-'. The first and the last are a letter or a digit."""
    description: str = ""


class Task(ResponseBody):
    """A task."""

    object: Literal["task"]
    name: str
    description: str
    created_at: datetime
    latest_version: int | None
    """The highest version number that is not retired."""
    production_version: int | None
    """The version that the bare task name means."""
    read_only: bool = False
    """Present, and true, if a folder on the server publishes the task: it cannot be changed over HTTP."""


class TaskList(ResponseBody):
    """A page of tasks, by name."""

    object: Literal["list"]
    data: list[Task]
    has_more: bool
    """True if more tasks follow. To get them, send the last name as `after`."""


class Purged(ResponseBody):
    """Counts of the records that a purge removed for good."""

    object: Literal["task.purged"]
    task: str
    num_versions: int
    num_tensors: int
    num_tensor_bytes: int
    num_shared_tensors: int
    """Number of tensors that stay, because other tasks have the same bytes."""
    num_alias_moves: int
    num_jobs: int
    """Number of tuning jobs."""
    num_files: int
    """Number of files that only these jobs and batches named."""
    log_is_clear: bool
    """True if the database's own log holds no copy either. False if a database server decides that."""
    num_batches: int
    """Number of batches with a line for the task. They are removed with their files."""
    num_interrupted_runs: int
    """Number of saved states of interrupted `softprompt tune` runs. They are removed from the server's data folder if
    the database lies there."""


class VersionManifest(ResponseBody):
    """The content of a version besides its tensors."""

    template: str | None
    """A text that holds `{input}` exactly once. null: the input is the prompt, unless `chat_template` is true."""
    chat_template: bool = False
    """true: an input is a user's message in the base model's chat template. It excludes `template`. Absent: false."""
    labels: list[str]
    stop: list[str]
    add_special_tokens: bool | None
    """null: the tokenizer's own default."""
    defaults: dict[str, Any]
    """Generation parameters for requests that leave them out."""
    task_index: int | None
    metrics: dict[str, Any]
    note: str
    parent_version: int | None
    """The task's version that was in production when this one was evaluated, or that the publisher named."""
    training_data_digest: str | None
    """SHA-256 of the training data."""
    pooling: str | None = None
    """FEATURE_EXTRACTION only: `last`, `mean` or `first`. Absent: the last token of a decoder, the mean of an encoder.
    """
    normalize: bool | None = None
    """FEATURE_EXTRACTION only: whether vectors have length 1. Absent: they have."""
    problem_type: str | None = None
    """SEQ_CLS only: `single_label_classification`, `multi_label_classification` or `regression`. Absent: the base
    model's own, or what the number of outputs says."""


class Version(ResponseBody):
    """One immutable version of a task."""

    object: Literal["task.version"]
    task: str
    version: int
    digest: str
    """Content digest: SHA-256 of everything that changes an answer."""
    prefix_digest: str | None
    """SHA-256 of the soft prompt as the model sees it. null for an ensemble."""
    peft_type: str | None
    """PEFT's name for the kind of soft prompt. null for an ensemble."""
    task_type: str | None = None
    """PEFT's name for what a version with a head answers: SEQ_CLS, TOKEN_CLS, QUESTION_ANS or FEATURE_EXTRACTION.
    Absent: it generates text."""
    num_virtual_tokens: int
    """For an ensemble, the number of its longest member."""
    members: list[int]
    """Version numbers of an ensemble's members. Empty for a version with its own soft prompt."""
    base_model_name: str
    """The base model's name in the checkpoint."""
    base_fingerprint: str
    manifest: VersionManifest
    created_at: datetime
    created_by: str
    retired_at: datetime | None


class LeftOutTensor(ResponseBody):
    """A tensor of an uploaded file that is no part of the soft prompt."""

    name: str
    num_bytes: int
    note: str
    """Says whether it was compared with the base model's own."""


class PublishedVersion(Version):
    """A published version."""

    created: bool
    """False if the same content is already a live version, which is then returned."""
    promoted: bool
    """True if `production` points at this version now."""
    left_out: list[LeftOutTensor] = Field(default_factory=list)
    """Present if the uploaded file held an embedding layer or a prompt encoder, which are not stored."""


class VersionList(ResponseBody):
    """A page of versions, newest first."""

    object: Literal["list"]
    data: list[Version]
    has_more: bool
    """True if older versions follow. To get them, send the last number as `before`."""


class AliasTarget(RequestBody):
    """One of the versions that an alias names."""

    version: int = Field(ge=1, le=2**31 - 1)
    weight: int = Field(ge=1, le=1_000_000)
    """The version's share of the callers is `weight` divided by the sum of all weights."""


class MoveAlias(RequestBody):
    """The new targets of an alias: either `version` or `targets`."""

    version: int | None = Field(default=None, ge=1, le=2**31 - 1)
    targets: list[AliasTarget] | None = Field(default=None, min_length=1, max_length=8)
    """Versions that share the callers by weight, such as 90 and 10 for a canary. All are of one task type."""
    shadow_of: str | None = None
    """The alias that this one shadows: this alias's one version also runs on its requests, for comparison."""
    reason: str = ""
    """The reason for the move. It is kept in the history."""


class RollBack(RequestBody):
    """The rollback of an alias."""

    reason: str = ""


class Agreement(ResponseBody):
    """Comparison of a shadow's answers with those of its alias, since this server's start.

    The server compares whole greedy answers and classifications, but neither streams nor sampled answers.
    """

    num_compared: int
    num_agreed: int
    num_dropped: int
    """Number of comparisons left out because the server was busy with requests."""
    num_failed: int
    """Number of requests that the shadow's version could not answer."""


class Alias(ResponseBody):
    """A movable name for one version, or for a few versions with weights. The `ETag` header changes with every move."""

    object: Literal["task.alias"]
    task: str
    alias: str
    version: int
    """Among several targets, the version with the highest weight."""
    targets: list[AliasTarget]
    """All targets, in the order of their version numbers."""
    shadow_of: str | None
    updated_at: datetime
    updated_by: str
    reason: str
    agreement: Agreement | None = None
    """Present only if the alias is a shadow and is read by its own name."""


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
