"""`POST /v1/classify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.sampling import Usage


class ClassifyRequest(RequestBody):
    """Choose between labels for one or more inputs."""

    model: ModelName
    """A task reference or the base model's id."""
    input: str | Annotated[list[str], Field(fail_fast=True)]
    """A text or several; the task's template applies."""
    labels: Annotated[list[str], Field(fail_fast=True)] | None = None
    """The labels to choose from, written as the model is to write them. Default: those of the task's version."""
    priority: int | None = Field(default=None, ge=-100, le=100)
    """Lower numbers are taken up earlier, as far as the key allows. Default 0."""


class LabelProbability(ResponseBody):
    """How likely one label is."""

    label: str
    probability: float
    """Among the labels: together they have 1. Of an ensemble, the mean over its members."""
    logprob: float
    """Sum of the natural log-probabilities of the label's tokens and the end token.

    Of an ensemble, the logarithm of the mean over its members.
    """


class Classification(ResponseBody):
    """The verdict on one input."""

    index: int
    label: str
    """The most likely one."""
    probabilities: list[LabelProbability]
    """Every label, in the order asked for."""


class ClassifyResult(ResponseBody):
    """One classification an input, in their order."""

    id: str
    object: Literal["classification"]
    created: int
    """Unix time in seconds."""
    model: str
    data: list[Classification]
    usage: Usage
