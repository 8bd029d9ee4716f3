"""`POST /v1/classify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.sampling import Usage


class Question(RequestBody):
    """A question about a text, for a task that finds answers (QUESTION_ANS)."""

    question: str
    context: str
    """The text that holds the answer."""


class ClassifyRequest(RequestBody):
    """One or more inputs to classify."""

    model: ModelName
    """A task reference or the base model's id."""
    input: (
        str | Annotated[list[str], Field(fail_fast=True)] | Question | Annotated[list[Question], Field(fail_fast=True)]
    )
    """One text or a list of texts. The task's template is applied to each. A task for QUESTION_ANS takes questions with
    their contexts instead."""
    labels: Annotated[list[str], Field(fail_fast=True)] | None = None
    """The labels to choose from, each written as the model would write it. Default: those of the task's version. A task
    with a head has its own, and refuses others."""
    top_k: int | None = Field(default=None, ge=1, le=100)
    """QUESTION_ANS only: number of answers to each question. Default 1."""
    max_answer_tokens: int | None = Field(default=None, ge=1, le=256)
    """QUESTION_ANS only: maximum number of tokens of an answer. Default 15."""
    priority: int | None = Field(default=None, ge=-100, le=100)
    """Requests with a lower number are scheduled earlier. The key sets the lowest number allowed. Default 0."""


class LabelProbability(ResponseBody):
    """The probability of one label."""

    label: str
    probability: float
    """Probability among the labels: all labels sum to 1. Of a multi-label classifier, each label has a probability of
    its own. For an ensemble, the mean over its members."""
    logprob: float
    """Sum of the natural log-probabilities of the label's tokens and the end token. Of a task with a head, the
    logarithm of the probability.

    For an ensemble, the logarithm of the members' mean probability.
    """


class Classification(ResponseBody):
    """The classification of one input."""

    index: int
    label: str
    """The most likely label."""
    probabilities: list[LabelProbability]
    """Every label, in the order of the request or of the version."""


class Regression(ResponseBody):
    """The numbers that a classifier of the problem type `regression` gives to one input."""

    index: int
    values: list[float]
    """One per output of the head. For an ensemble, the mean over its members."""


class LabelledToken(ResponseBody):
    """One token of an input with its label."""

    start: int
    """Where the token begins in the input, in characters."""
    end: int
    """Where it ends, exclusive."""
    text: str
    label: str
    """The most likely label."""
    score: float
    """Its probability among the labels."""


class TokenClassification(ResponseBody):
    """The labels of one input's tokens (TOKEN_CLS). Special tokens are left out."""

    index: int
    tokens: list[LabelledToken]


class FoundAnswer(ResponseBody):
    """A part of the context that answers the question."""

    text: str
    start: int
    """Where the answer begins in the context, in characters."""
    end: int
    """Where it ends, exclusive."""
    score: float
    """The probability that an answer begins there, times the probability that it ends there."""


class QuestionAnswers(ResponseBody):
    """The answers to one question (QUESTION_ANS), the most likely first."""

    index: int
    answers: list[FoundAnswer]


class ClassifyResult(ResponseBody):
    """One entry per input, in the order of the inputs. Its form depends on the task's type.

    A task that generates text, or one for SEQ_CLS, has a classification; if its problem type is `regression`, numbers.
    TOKEN_CLS labels tokens, and QUESTION_ANS finds answers.
    """

    id: str
    object: Literal["classification"]
    created: int
    """Unix time in seconds."""
    model: str
    data: list[Classification | Regression | TokenClassification | QuestionAnswers]
    usage: Usage
