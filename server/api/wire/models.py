"""`GET /v1/models`."""

from __future__ import annotations

from typing import Literal

from server.api.wire.bodies import ResponseBody


class Model(ResponseBody):
    """A value that `model` may have: the base model's id or a task reference."""

    id: str
    object: Literal["model"]
    created: int
    """Unix time in seconds. For the base model, the time at which the server started."""
    owned_by: str
    parent: str | None
    """The base model's id for a task, null for the base model."""
    max_model_len: int
    """Maximum number of tokens of a soft prompt, a prompt and its answer together."""
    endpoints: list[str] | None = None
    """Paths that answer it: a task with a head has one, an encoder without a task none. Present for the base model, and
    where one model is asked for."""
    task_type: str | None = None
    """PEFT's name for what a task with a head answers: SEQ_CLS, TOKEN_CLS, QUESTION_ANS or FEATURE_EXTRACTION. Present
    where one model is asked for that has a head."""


class ModelList(ResponseBody):
    """The base model, then the tasks by name."""

    object: Literal["list"]
    data: list[Model]
