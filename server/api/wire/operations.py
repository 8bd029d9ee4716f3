"""`/health`, `/ready` and `/version`."""

from __future__ import annotations

from typing import Literal

from server.api.wire.bodies import ResponseBody


class Health(ResponseBody):
    """The process works."""

    status: Literal["ok"]


class Readiness(ResponseBody):
    """The server accepts requests."""

    status: Literal["ready"]
    store: Literal["reachable", "unreachable"]
    """`unreachable` means that known tasks are still served, but nothing can be changed."""
    store_age_s: float | None
    """Seconds since the store was last read. Known tasks are served from that state. null: not read yet."""


class BaseModelVersion(ResponseBody):
    """The base model that is served."""

    id: str
    fingerprint: str
    """Identifies the stored weights, whatever form they are served in."""
    weights: str | None
    """The form in which the weights are served: float32, float16, bfloat16, int8-weight-only or int8.
    null: vLLM's arguments say it."""


class ServerVersion(ResponseBody):
    """The server's release and its base model."""

    version: str
    base_model: BaseModelVersion
