"""Lists in pages. A route reads one item more than it shows, to know whether more follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from pydantic import BeforeValidator, Field

from server.api.errors import InvalidRequest
from server.api.limits import ApiLimits

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


def page_of(items: Sequence[_Item], size: int) -> tuple[Sequence[_Item], bool]:
    """The items of the page, and whether there were more."""
    return items[:size], len(items) > size
