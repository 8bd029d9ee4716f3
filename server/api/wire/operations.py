"""`/health`, `/ready` and `/version`."""

from __future__ import annotations

from typing import Literal

from server.api.wire.bodies import ResponseBody


class Health(ResponseBody):
    """The process works."""

    status: Literal["ok"]


class Readiness(ResponseBody):
    """Requests are answered."""

    status: Literal["ready"]
    store: Literal["reachable", "unreachable"]
    """While it is unreachable, known tasks are answered and nothing can be changed."""
    store_age_s: float | None
    """Seconds since the store was last seen: known tasks are answered by its state of then. null: not seen yet."""


class BaseModelVersion(ResponseBody):
    """Which base model is served."""

    id: str
    fingerprint: str


class ServerVersion(ResponseBody):
    """Which release this is."""

    version: str
    base_model: BaseModelVersion
