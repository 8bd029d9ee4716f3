"""Lists in pages. A route reads one item more than it shows, to know whether more follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query, Response
from pydantic import BeforeValidator, Field

from server.api.errors import InvalidRequest
from server.api.limits import ApiLimits
from server.api.responses.json_response import json_response
from server.api.wire.bodies import ResponseBody

_Item = TypeVar("_Item")

DEFAULT_PAGE_SIZE = 20


def empty_is(default: Any) -> BeforeValidator:
    """Let an empty query value ask for nothing, so that it counts as left out."""
    return BeforeValidator(lambda value: default if value == "" else value)


PageSize = Annotated[
    Annotated[int, Field(ge=1)],
    empty_is(DEFAULT_PAGE_SIZE),
    Query(description="Maximum number of items in a page."),
]


def page_size(limit: int, limits: ApiLimits) -> int:
    """The page size itself, if it is allowed. Raises `InvalidRequest`."""
    if limit > limits.max_page_size:
        raise InvalidRequest(f"limit is {limit}; the maximum is {limits.max_page_size}", param="limit")
    return limit


def page_response(
    kind: type[ResponseBody], found: Sequence[_Item], size: int, body: Callable[[_Item], ResponseBody]
) -> Response:
    """The page of a list of this kind. `found` has one item more if more follow; `body` is an item on the wire."""
    data: list[Any] = [body(item) for item in found[:size]]
    fields: dict[str, Any] = {"object": "list", "data": data, "has_more": len(found) > size}
    if "first_id" in kind.model_fields:
        fields |= {"first_id": data[0].id, "last_id": data[-1].id} if data else {"first_id": None, "last_id": None}
    return json_response(kind(**fields))
