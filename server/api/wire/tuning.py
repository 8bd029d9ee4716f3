"""`/v1/fine_tuning/jobs`: OpenAI's fields, and more fields for soft prompts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.passive_fields import JOB_FIELDS, JOB_METHOD_FIELDS, Fields

_Metadata = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=64)], Annotated[str, StringConstraints(max_length=512)]
]
Status = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]


class Hyperparameters(RequestBody):
    """Hyperparameters, OpenAI's first. The server chooses each one that is left out or "auto"."""

    n_epochs: Literal["auto"] | float | None = None
    """Passes over the training examples. "auto": 3, but at least 200 and at most 2,000 steps."""
    batch_size: Literal["auto"] | int | None = None
    """Number of examples per optimiser step."""
    learning_rate_multiplier: Literal["auto"] | float | None = None
    """Factor on the method's default learning rate. "auto" is 1. It excludes `learning_rate`."""
    learning_rate: Literal["auto"] | float | None = None
    """A number, or "auto" to try several first. Default: the method's own, scaled by the size of embedding rows."""
    method: Literal["PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"] | None = None
    """PEFT's name for the kind of soft prompt. Default `PROMPT_TUNING`."""
    initialisation: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT", "LABELS"] | None = None
    """Start values of the virtual tokens."""
    init_text: str | None = Field(None, max_length=32_768)
    """The text for the initialisation `TEXT`."""
    num_virtual_tokens: int | None = None
    encoder_hidden_size: int | None = None
    """Hidden size of the encoder of `P_TUNING`."""
    num_steps: int | None = None
    """Number of optimiser steps, instead of `n_epochs`."""
    optimizer: Literal["ADAMW", "ADAFACTOR"] | None = None
    schedule: Literal["CONSTANT", "LINEAR", "COSINE"] | None = None
    warmup_steps: int | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    validate_every: int | None = None
    """Number of steps between two validations."""
    patience: int | None = None
    """The run ends after this number of validations without a better one."""


class Supervised(RequestBody):
    """Training on prompts and their completions."""

    hyperparameters: Hyperparameters | None = None


class MethodBody(RequestBody):
    """The tuning method and its hyperparameters, as OpenAI's clients send them."""

    passive_fields: ClassVar[Fields] = JOB_METHOD_FIELDS

    type: Literal["supervised"]
    supervised: Supervised | None = None


class GateBody(RequestBody):
    """Conditions on the held-out score. The version is promoted only if it meets them."""

    metric: Literal["exact_match", "label_accuracy", "macro_f1"] = "exact_match"
    min_score: float | None = Field(None, ge=0, le=1)
    not_worse_than_production: bool = False
    """Require a score at least as good as that of the version in production when the evaluation begins."""


class CreateJob(RequestBody):
    """A new tuning job. OpenAI does not have the fields from `template` on."""

    passive_fields: ClassVar[Fields] = JOB_FIELDS

    model: ModelName
    """The base model's id."""
    training_file: str
    validation_file: str | None = None
    """If left out or empty, a tenth of the training examples is held out: at most 200, and never the last one of a
    label."""
    suffix: str | None = Field(None, max_length=64)
    """Required. The task that gets the new version. It is created if it does not exist. A text that is not a task's
    name is turned into one: in lower case, with "-" for each run of other characters ("My Task 1" is my-task-1)."""
    hyperparameters: Hyperparameters | None = None
    """The hyperparameters, in the place that older clients use."""
    method: MethodBody | None = None
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    """The same job with the same seed gives the same soft prompt on the same kind of CPU. Default: 0."""
    metadata: _Metadata | None = Field(None, max_length=16)
    template: str | None = None
    """A text that holds `{input}` exactly once. Default: the base model's."""
    add_special_tokens: bool | None = None
    """Default: the setting of the default template, or else the tokenizer's own."""
    labels: list[str] | None = None
    """The labels to choose from. Default: the labels in the training file, if it has texts and labels."""
    stop: list[str] | None = None
    defaults: dict[str, Any] | None = None
    """Generation parameters for requests that leave them out. Default: greedy, as long as the longest completion."""
    promote: bool = False
    """Point `production` at the new version. A task's first version is promoted in any case, unless the gate forbids
    it."""
    gate: GateBody | None = None
    note: str = ""


class JobFailure(ResponseBody):
    """The cause of a job's failure."""

    code: str
    message: str
    param: str | None


class JobHyperparameters(ResponseBody):
    """The hyperparameters of a job, as the server decided them."""

    n_epochs: Literal["auto"] | float
    batch_size: int
    learning_rate_multiplier: Literal["auto"] | float
    learning_rate: Literal["auto"] | float | None
    """null: the method's default."""
    method: str
    initialisation: str
    init_text: str | None
    num_virtual_tokens: int
    encoder_hidden_size: int | None
    num_steps: int | None
    optimizer: str
    schedule: str
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    validate_every: int | None
    patience: int | None


class JobSupervised(ResponseBody):
    """Training on prompts and their completions."""

    hyperparameters: JobHyperparameters


class JobMethod(ResponseBody):
    """The tuning method of a job."""

    type: Literal["supervised"]
    supervised: JobSupervised


class Job(ResponseBody):
    """A tuning job. OpenAI does not have the fields from `task` on."""

    id: str
    object: Literal["fine_tuning.job"]
    created_at: int
    """Unix time in seconds, like every time here."""
    finished_at: int | None
    estimated_finish: int | None
    """null unless the job is running."""
    status: Status
    error: JobFailure | None
    model: str
    fine_tuned_model: str | None
    """A task reference to the new version, once the job has succeeded."""
    organization_id: str
    result_files: list[str]
    training_file: str
    validation_file: str | None
    trained_tokens: int | None
    hyperparameters: JobHyperparameters
    method: JobMethod
    integrations: list[Any]
    seed: int
    metadata: dict[str, str]
    task: str
    version: int | None
    template: str | None
    labels: list[str]
    promote: bool
    gate: GateBody | None
    metrics: dict[str, Any]
    """Held-out scores once the job has succeeded, or `not_evaluated` with the reason. The version has them too."""


class JobList(ResponseBody):
    """A page of jobs, newest first."""

    object: Literal["list"]
    data: list[Job]
    has_more: bool


class JobEvent(ResponseBody):
    """One entry of a job's log."""

    id: str
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class JobEventList(ResponseBody):
    """A page of events, newest first."""

    object: Literal["list"]
    data: list[JobEvent]
    has_more: bool


class JobCheckpoint(ResponseBody):
    """A saved state of a job. The job can or could resume from it."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuned_model_checkpoint: str
    """A name for people. Requests cannot use it: only the job's final version serves requests."""
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, Any]


class JobCheckpointList(ResponseBody):
    """A page of checkpoints, newest first."""

    object: Literal["list"]
    data: list[JobCheckpoint]
    has_more: bool
    first_id: str | None
    last_id: str | None
