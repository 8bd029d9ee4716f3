"""`POST /v1/classify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.sampling import Usage


class ClassifyRequest(RequestBody):
    """One or more inputs to classify."""

    model: ModelName
    """A task reference or the base model's id."""
    input: str | Annotated[list[str], Field(fail_fast=True)]
    """One text or a list of texts. The task's template is applied to each."""
    labels: Annotated[list[str], Field(fail_fast=True)] | None = None
    """The labels to choose from, each written as the model would write it. Default: those of the task's version."""
    priority: int | None = Field(default=None, ge=-100, le=100)
    """Requests with a lower number are scheduled earlier. The key sets the lowest number allowed. Default 0."""


class LabelProbability(ResponseBody):
    """The probability of one label."""

    label: str
    probability: float
    """Probability among the labels: all labels sum to 1. For an ensemble, the mean over its members."""
    logprob: float
    """Sum of the natural log-probabilities of the label's tokens and the end token.

    For an ensemble, the logarithm of the members' mean probability.
    """


class Classification(ResponseBody):
    """The classification of one input."""

    index: int
    label: str
    """The most likely label."""
    probabilities: list[LabelProbability]
    """Every label, in the order of the request or of the version."""


class ClassifyResult(ResponseBody):
    """One classification per input, in the order of the inputs."""

    id: str
    object: Literal["classification"]
    created: int
    """Unix time in seconds."""
    model: str
    data: list[Classification]
    usage: Usage
