"""Refusal of query parameters and headers that a route does not declare, by name, rather than ignoring them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastapi import Request
from fastapi.dependencies.models import Dependant

from server.api.errors import InvalidRequest, UnknownParameter

PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,100}")
"""A name that an error message may repeat."""

_OUR_PREFIX = "x-softprompt-"
_OF_OPENAIS_LISTS = frozenset({"metadata"})
"""Query parameters of OpenAI's lists that ask for nothing where they are empty."""
_OF_EVERY_REQUEST = frozenset({"x-softprompt-sticky-key"})
"""Headers of ours that clients set once for all requests. Routes that do not use them ignore them."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The query parameters and headers that a route declares, those of its dependencies included."""

    query: tuple[str, ...]
    headers: frozenset[str]

    @classmethod
    def of(cls, dependant: Dependant) -> Declared:
        """Collect them from FastAPI's description of the route."""
        parts = list(_all_of(dependant))
        query = [field.alias for part in parts for field in part.query_params]
        headers = [field.alias.lower() for part in parts for field in part.header_params]
        return cls(tuple(dict.fromkeys(query)), frozenset(headers))

    def check(self, request: Request) -> None:
        """Raise `UnknownParameter` for an undeclared name, `InvalidRequest` for a repeated one.

        Among headers, only our own and `If-Match` are checked.
        """
        names = [name for name, _ in request.query_params.multi_items()]
        for name in names:
            if name not in self.query and not _asks_nothing(name, request):
                raise _unknown("query parameter", name, self.query)
        _check_once(names)
        ours = [name for name in request.headers.keys() if name in self.headers or _is_ours(name)]  # noqa: SIM118
        for name in ours:
            if name not in self.headers | _OF_EVERY_REQUEST:
                raise _unknown("header", name, sorted(filter(_is_ours, self.headers)))
        _check_once(ours)


def _asks_nothing(name: str, request: Request) -> bool:
    return name in _OF_OPENAIS_LISTS and request.query_params[name] == ""


def _all_of(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for part in dependant.dependencies:
        yield from _all_of(part)


def _is_ours(name: str) -> bool:
    return name.startswith(_OUR_PREFIX) or name == "if-match"


def _check_once(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"'{name}' is given more than once: send it once", param=name)
        seen.add(name)


def _unknown(kind: str, name: str, known: Iterable[str]) -> UnknownParameter:
    takes = f"this route takes {', '.join(known) or 'none'}"
    if not PLAIN_NAME.fullmatch(name):
        return UnknownParameter(f"unknown {kind}; {takes}")
    return UnknownParameter(f"unknown {kind}: '{name}'; {takes}", param=name)
