"""Breaking changes between two OpenAPI documents: what stops a client that was generated from the older one.

`python -m tests.api.breaking_changes OLD.json NEW.json` prints them. A request may accept more and an answer may say
more. New routes, new optional fields and new values of an answer are no breaking changes. Removed routes, fields and
values, changed types and names of operations, tighter bounds, and fields that requests now need are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]
REQUEST, ANSWER = "request", "answer"
_METHODS = ("get", "put", "post", "delete", "patch")
_UPPER, _LOWER = ("maximum", "maxLength", "maxItems"), ("minimum", "minLength", "minItems")
_WIDER = {("integer", "number")}


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """One line per change, in the order of the older document."""
    return list(dict.fromkeys(_Comparison(old, new).operations()))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two documents, and the pairs of named schemas that were compared."""

    old: Schema
    new: Schema
    seen: set[tuple[str, str, str]] = field(default_factory=set)

    def operations(self) -> Iterator[str]:
        for path, methods in self.old["paths"].items():
            for method in filter(methods.__contains__, _METHODS):
                name = f"{method.upper()} {path}"
                found = self.new["paths"].get(path, {}).get(method)
                if found is None:
                    yield f"{name}: removed"
                else:
                    yield from self._operation(name, methods[method], found)

    def _operation(self, name: str, old: Schema, new: Schema) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{name}: the operation {old['operationId']} is now {new['operationId']}"
        yield from self._parameters(name, old, new)
        bodies = old.get("requestBody", {}), new.get("requestBody", {})
        if bodies[1].get("required") and not bodies[0].get("required"):
            yield f"{name}: a body is required now"
        yield from self._contents(f"{name}, request", bodies[0], bodies[1], REQUEST)
        for status, answer in old["responses"].items():
            if status.startswith("2"):
                if status not in new["responses"]:
                    yield f"{name}: the status {status} is removed"
                yield from self._contents(f"{name}, {status}", answer, new["responses"].get(status, answer), ANSWER)

    def _parameters(self, name: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = (
            {(one["in"], one["name"]): one for one in operation.get("parameters", ())} for operation in (old, new)
        )
        for key, parameter in before.items():
            where = f"{name}, {' '.join(key)}"
            if key not in after:
                yield f"{where}: removed"
            else:
                yield from self._schema(where, parameter["schema"], after[key]["schema"], REQUEST)
        for key, parameter in after.items():
            if parameter.get("required") and not before.get(key, {}).get("required"):
                yield f"{name}, {' '.join(key)}: required now"

    def _contents(self, where: str, old: Schema, new: Schema, direction: str) -> Iterator[str]:
        for media_type, content in old.get("content", {}).items():
            found = new.get("content", {}).get(media_type)
            if found is None:
                yield f"{where}: {media_type} is removed"
            else:
                yield from self._schema(where, content["schema"], found["schema"], direction)

    def _schema(self, where: str, old: Schema, new: Schema, direction: str) -> Iterator[str]:
        pair = (old.get("$ref", ""), new.get("$ref", ""), direction)
        if all(pair):
            if pair in self.seen:
                return
            self.seen.add(pair)
            where = pair[0].rpartition("/")[2] + f" ({direction})"
        old_forms, new_forms = _forms(old, self.old), _forms(new, self.new)
        if len(old_forms) == len(new_forms) == 1:
            yield from self._form(where, old_forms[0], new_forms[0], direction)
            return
        given, taken = (old_forms, new_forms) if direction == REQUEST else (new_forms, old_forms)
        for form in given:
            same = [other for other in taken if _name(other) == _name(form)]
            pairs = [(form, other) if direction == REQUEST else (other, form) for other in same or taken]
            if len(same) == 1:
                yield from self._form(f"{where}, {_name(form)}", *pairs[0], direction)
            elif not any(self._fits(*pair, direction) for pair in pairs):
                change = "no longer taken" if direction == REQUEST else "new"
                yield f"{where}: the form {_name(form)} is {change}"

    def _fits(self, old: Schema, new: Schema, direction: str) -> bool:
        """Whether a candidate for a form has no finding; what was seen on the way is forgotten."""
        return not any(_Comparison(self.old, self.new, set(self.seen))._form("", old, new, direction))

    def _form(self, where: str, old: Schema, new: Schema, direction: str) -> Iterator[str]:
        if _type(old) != _type(new) and not _is_wider(old, new, direction):
            yield f"{where}: {_name(old)} is now {_name(new)}"
            return
        if direction == REQUEST:
            yield from _narrowed(where, old, new)
        elif set(_values(old) or ()) - set(_values(new) or _values(old) or ()):
            yield f"{where}: values are removed"
        yield from self._properties(where, old, new, direction)
        for key in ("items", "additionalProperties"):
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                yield from self._schema(f"{where}, {key}", old[key], new[key], direction)

    def _properties(self, where: str, old: Schema, new: Schema, direction: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                yield f"{where}.{name}: removed"
            else:
                yield from self._schema(f"{where}.{name}", schema, after[name], direction)
        required = set(old.get("required", ())), set(new.get("required", ()))
        if direction == REQUEST:
            yield from (f"{where}.{name}: required now" for name in sorted(required[1] - required[0]))
        else:
            yield from (
                f"{where}.{name}: no longer always there" for name in sorted(required[0] - required[1] & set(after))
            )


def _forms(schema: Schema, document: Schema) -> list[Schema]:
    """The alternatives of a schema, references followed."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    return [form for one in alternatives for form in _forms(one, document)] if alternatives else [schema]


def _type(schema: Schema) -> tuple[Any, Any]:
    return schema.get("type"), schema.get("format")


def _is_wider(old: Schema, new: Schema, direction: str) -> bool:
    """A request that takes more types, an answer that has fewer."""
    narrow, wide = (old, new) if direction == REQUEST else (new, old)
    return wide.get("type") is None or (narrow.get("type"), wide.get("type")) in _WIDER


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _narrowed(where: str, old: Schema, new: Schema) -> Iterator[str]:
    """What a request may no longer hold."""
    if (values := _values(new)) is not None:
        gone = [value for value in _values(old) or ["others"] if value not in values]
        if gone:
            yield f"{where}: the values {gone} are no longer taken"
    for names, sign in ((_UPPER, 1), (_LOWER, -1)):
        for name in names:
            if name in new and (name not in old or sign * new[name] < sign * old[name]):
                yield f"{where}: {name} is {new[name]} now, after {old.get(name, 'none')}"


def _name(schema: Schema) -> str:
    return str(schema.get("title") or " ".join(filter(None, (schema.get("type", "any"), schema.get("format")))))


if __name__ == "__main__":
    found = breaking_changes(*(json.loads(Path(name).read_text()) for name in sys.argv[1:3]))
    print(*found, sep="\n")
    sys.exit(bool(found))
