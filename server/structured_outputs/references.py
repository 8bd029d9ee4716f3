"""`$ref` in a schema: what it names, and how far it leads.

A place of a schema stands for its own keywords and, through `$ref`, `anyOf`, `oneOf` and `allOf`, for other subschemas
before a character of the answer is written. Such a chain must end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from server.structured_outputs.errors import ConstraintRefused
from server.structured_outputs.limits import StructureLimits

_COMBINED = ("anyOf", "oneOf", "allOf")


class References:
    """The references of one schema. `param` names the field that holds it."""

    def __init__(self, root: Any, limits: StructureLimits, param: str) -> None:
        self._root = root
        self._limits = limits
        self._param = param
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, node: dict[str, Any], path: str) -> None:
        """Raise `ConstraintRefused` for a circle without content, and for a place that stands for too much."""
        self._size(node, path, depth=0)

    def target(self, reference: Any, path: str) -> Any:
        """The subschema that a `$ref` names: a JSON pointer (RFC 6901) into the same schema."""
        if not isinstance(reference, str) or not reference.startswith("#") or reference[1:2] not in ("", "/"):
            raise ConstraintRefused(
                f"$ref at {path or '/'} must be a pointer into the schema itself, such as '#/$defs/name'",
                param=self._param,
            )
        node = self._root
        for part in reference[1:].split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            node = self._child(node, name, path)
        return node

    def _child(self, node: Any, name: str, path: str) -> Any:
        if isinstance(node, dict) and name in node:
            return node[name]
        if isinstance(node, list) and name.isascii() and name.isdigit() and len(name) < 6 and int(name) < len(node):
            return node[int(name)]
        raise ConstraintRefused(f"$ref at {path or '/'} names nothing in the schema", param=self._param)

    def _size(self, node: Any, path: str, depth: int) -> int:
        """Number of subschemas that a place stands for."""
        if not isinstance(node, dict):
            return 1
        if id(node) in self._open:
            raise ConstraintRefused(f"$ref at {path or '/'} leads back to itself", param=self._param)
        if id(node) not in self._sizes:
            if depth > self._limits.max_depth:
                raise self._too_large(path)
            self._open.add(id(node))
            size = 1 + sum(self._size(other, path, depth + 1) for other in self._others(node, path))
            self._open.discard(id(node))
            if size > self._limits.max_nodes:
                raise self._too_large(path)
            self._sizes[id(node)] = size
        return self._sizes[id(node)]

    def _others(self, node: dict[str, Any], path: str) -> Iterator[Any]:
        if "$ref" in node:
            yield self.target(node["$ref"], path)
        for keyword in _COMBINED:
            if isinstance(members := node.get(keyword), list):
                yield from members

    def _too_large(self, path: str) -> ConstraintRefused:
        return ConstraintRefused(
            f"the schema at {path or '/'} stands for more than {self._limits.max_nodes} subschemas, or for a chain of "
            f"more than {self._limits.max_depth}",
            param=self._param,
        )
