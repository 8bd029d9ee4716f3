"""The JSON schemas that are supported (a subset of draft 2020-12), and bounds on them.

A keyword that nothing would enforce is refused by name: an answer keeps all of its schema, or there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from server.structured_outputs.errors import ConstraintRefused
from server.structured_outputs.limits import StructureLimits
from server.structured_outputs.references import References

TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})

_COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_SCHEMAS = frozenset({"items", "additionalProperties"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_ANNOTATIONS = frozenset(
    {
        *("$schema", "$comment", "title", "description", "default", "examples"),
        *("deprecated", "readOnly", "writeOnly", "discriminator"),
    }
)
_OTHERS = frozenset({"type", "enum", "const", "required", "pattern", "format", "$ref"})
KEYWORDS = _COUNTS | _NUMBERS | _SCHEMAS | _LISTS | _MAPS | _ANNOTATIONS | _OTHERS
"""The keywords that a schema may have."""


def check_schema(schema: Any, limits: StructureLimits, param: str) -> None:
    """Raise `ConstraintRefused` unless a parsed schema is supported and within bounds. `param` names its field."""
    _Check(schema, limits, param).run()


class _Check:
    def __init__(self, schema: Any, limits: StructureLimits, param: str) -> None:
        self._schema = schema
        self._limits = limits
        self._param = param
        self._references = References(schema, limits, param)

    def run(self) -> None:
        check_depth(self._schema, self._limits, self._param)
        places = [("", self._schema)]
        while places:
            path, node = places.pop()
            if isinstance(node, bool):
                continue
            if not isinstance(node, dict):
                raise self._refused(path, "is neither an object nor true or false")
            self._check_keywords(path, node)
            places += self._subschemas(path, node)
            self._references.check(node, path)

    def _check_keywords(self, path: str, node: dict[str, Any]) -> None:
        unknown = sorted(node.keys() - KEYWORDS)
        if unknown:
            named = ", ".join(f"'{_shortened(name)}'" for name in unknown[:5])
            raise ConstraintRefused(f"unsupported keywords of the schema at {path or '/'}: {named}", param=self._param)
        for name, value in node.items():
            check, allowed = _VALUES.get(name, (None, ""))
            if check is not None and not check(value):
                raise self._refused(f"{path}/{name}", f"is not {allowed}")
            if name in _COUNTS and value > self._limits.max_repetition:
                raise self._refused(f"{path}/{name}", f"is above {self._limits.max_repetition}")
            if name in ("enum", *_LISTS) and len(value) > self._limits.max_enum:
                raise self._refused(f"{path}/{name}", f"has more than {self._limits.max_enum} entries")

    def _subschemas(self, path: str, node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            if name in _SCHEMAS:
                yield f"{path}/{name}", value
            elif name in _LISTS:
                yield from ((f"{path}/{name}/{number}", one) for number, one in enumerate(value))
            elif name in _MAPS:
                yield from ((f"{path}/{name}/{_shortened(key)}", one) for key, one in value.items())

    def _refused(self, path: str, what: str) -> ConstraintRefused:
        return ConstraintRefused(f"the schema at {path or '/'} {what}", param=self._param)


def check_depth(value: Any, limits: StructureLimits, param: str) -> None:
    """Raise `ConstraintRefused` for JSON with too many brackets within brackets."""
    level = [value]
    for _ in range(limits.max_depth + 1):
        level = [one for node in level if isinstance(node, (dict, list)) for one in _members(node)]
        if not level:
            return
    raise ConstraintRefused(f"the schema is nested deeper than {limits.max_depth}", param=param)


def _members(node: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(node.values() if isinstance(node, dict) else node)


def _shortened(name: str) -> str:
    """A caller's name within a message."""
    printable = "".join(character if character.isprintable() else "?" for character in name[:40])
    return printable if len(name) <= 40 else f"{printable}…"


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18


def _is_step(value: Any) -> bool:
    return _is_number(value) and value > 0


def _are_types(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{name: (_is_count, "a number of repetitions, 0 or more") for name in _COUNTS},
    **{name: (_is_number, "a number of at most 18 digits") for name in _NUMBERS},
    **{name: (lambda value: isinstance(value, list) and bool(value), "a list with an entry") for name in _LISTS},
    **{name: (lambda value: isinstance(value, dict), "an object") for name in _MAPS},
    "multipleOf": (_is_step, "a number above 0 of at most 18 digits"),
    "type": (_are_types, f"one of {', '.join(sorted(TYPES))}, or a list of them"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list with an entry"),
    "required": (_are_names, "a list of names"),
    "pattern": (lambda value: isinstance(value, str), "a regular expression"),
    "format": (
        lambda value: isinstance(value, str) and value in FORMATS,
        f"a supported format ({', '.join(sorted(FORMATS))})",
    ),
}
