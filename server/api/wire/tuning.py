"""`/v1/fine_tuning/jobs`, as OpenAI has it, and what a soft prompt needs beyond that."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody

_Metadata = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=64)], Annotated[str, StringConstraints(max_length=512)]
]
Status = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]


class Hyperparameters(RequestBody):
    """How to tune. Those of OpenAI first; what is left out, or "auto", is chosen by the server."""

    n_epochs: Literal["auto"] | float | None = None
    """Passes over the training examples; "auto": 3, but 200 steps at least and 2,000 at most."""
    batch_size: Literal["auto"] | int | None = None
    """Examples of one optimiser step."""
    learning_rate_multiplier: Literal["auto"] | float | None = None
    """Multiplies the method's default learning rate; "auto" is 1. Goes with no `learning_rate`."""
    learning_rate: Literal["auto"] | float | None = None
    """A number; "auto" tries several first. Left out: the method's default, scaled by the size of embedding rows."""
    method: Literal["PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"] | None = None
    """What is trained, as PEFT calls it; `PROMPT_TUNING` by default."""
    initialisation: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT", "LABELS"] | None = None
    """Where the virtual tokens begin."""
    init_text: str | None = Field(None, max_length=32_768)
    """For the initialisation `TEXT`."""
    num_virtual_tokens: int | None = None
    encoder_hidden_size: int | None = None
    """Of `P_TUNING`'s encoder."""
    num_steps: int | None = None
    """Optimiser steps, instead of `n_epochs`."""
    optimizer: Literal["ADAMW", "ADAFACTOR"] | None = None
    schedule: Literal["CONSTANT", "LINEAR", "COSINE"] | None = None
    warmup_steps: int | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    validate_every: int | None = None
    """Steps between two validations."""
    patience: int | None = None
    """Validations without a better one after which the run ends."""


class Supervised(RequestBody):
    """Learning from prompts and their completions."""

    hyperparameters: Hyperparameters | None = None


class MethodBody(RequestBody):
    """Where OpenAI's clients put the hyperparameters."""

    type: Literal["supervised"]
    supervised: Supervised | None = None


class GateBody(RequestBody):
    """What promotion requires of the held-out score."""

    metric: Literal["exact_match", "label_accuracy", "macro_f1"] = "exact_match"
    min_score: float | None = Field(None, ge=0, le=1)
    not_worse_than_production: bool = False
    """Compare with the version in production, as it is when the evaluation begins."""


class CreateJob(RequestBody):
    """A tuning job. Every field from `template` on is this server's own."""

    model: ModelName
    """The base model's id."""
    training_file: str
    validation_file: str | None = None
    """Without one, a tenth of the training examples is held out, 200 at most, and no label's last one."""
    suffix: str | None = Field(None, max_length=64)
    """The task that the version is published to; it is made where it is missing. Required."""
    hyperparameters: Hyperparameters | None = None
    """The older place of the hyperparameters."""
    method: MethodBody | None = None
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    """The same job with the same seed gives the same soft prompt on the same kind of CPU."""
    metadata: _Metadata | None = Field(None, max_length=16)
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None
    """There are none."""
    template: str | None = None
    """Holds one literal `{input}`; left out: the base model's default."""
    add_special_tokens: bool | None = None
    """Left out: as with the default template, or else as the tokenizer does by default."""
    labels: list[str] | None = None
    """The labels to choose from; left out: those of a file of texts and labels."""
    stop: list[str] | None = None
    defaults: dict[str, Any] | None = None
    """Generation parameters for requests that leave them out; left out: greedy, as long as the longest completion."""
    promote: bool = False
    """Point `production` at the version; a task's first one becomes it in any case, unless the gate forbids."""
    gate: GateBody | None = None
    note: str = ""


class JobFailure(ResponseBody):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class JobHyperparameters(ResponseBody):
    """How a job tunes, as it was decided."""

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
    """Learning from prompts and their completions."""

    hyperparameters: JobHyperparameters


class JobMethod(ResponseBody):
    """How a job tunes."""

    type: Literal["supervised"]
    supervised: JobSupervised


class Job(ResponseBody):
    """A tuning job. Fields from `task` on are this server's own."""

    id: str
    object: Literal["fine_tuning.job"]
    created_at: int
    """Unix time in seconds, as every time here."""
    finished_at: int | None
    estimated_finish: int | None
    """null unless it runs."""
    status: Status
    error: JobFailure | None
    model: str
    fine_tuned_model: str | None
    """A task reference, once the job has succeeded."""
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
    """Held-out scores once the job has succeeded, or `not_evaluated` with the reason; the version has them too."""


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
    """A moment that the job can go on from, or once could."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuned_model_checkpoint: str
    """A name for people: only the job's last version answers requests."""
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
