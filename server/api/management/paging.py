"""Lists in pages. A route reads one item more than it shows, to know whether more follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from server.api.errors import InvalidRequest
from server.api.limits import ApiLimits

_Item = TypeVar("_Item")

PageSize = Annotated[int, Query(ge=1, description="Maximum number of items in a page.")]
DEFAULT_PAGE_SIZE = 20


def page_size(limit: int, limits: ApiLimits) -> int:
    """The page size itself, if it is allowed. Raises `InvalidRequest`."""
    if limit > limits.max_page_size:
        raise InvalidRequest(f"limit is {limit}; the maximum is {limits.max_page_size}", param="limit")
    return limit


def page_of(items: Sequence[_Item], size: int) -> tuple[Sequence[_Item], bool]:
    """The items of the page, and whether there were more."""
    return items[:size], len(items) > size
