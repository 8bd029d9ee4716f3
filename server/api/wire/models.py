"""`GET /v1/models`."""

from __future__ import annotations

from typing import Literal

from server.api.wire.bodies import ResponseBody


class Model(ResponseBody):
    """Something that `model` may name."""

    id: str
    object: Literal["model"]
    created: int
    """Unix time in seconds; for the base model, when the server started."""
    owned_by: str
    parent: str | None
    """The base model's id, for a task."""
    max_model_len: int
    """Most positions of virtual tokens, prompt and answer together."""


class ModelList(ResponseBody):
    """The base model, then the tasks by name."""

    object: Literal["list"]
    data: list[Model]
