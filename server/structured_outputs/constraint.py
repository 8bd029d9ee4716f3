"""The form of an answer, read from the fields that name it.

`response_format` is OpenAI's field, `structured_outputs` vLLM's. A version keeps them under the same names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from server.structured_outputs.errors import ConstraintRefused
from server.structured_outputs.limits import StructureLimits

RESPONSE_FORMAT = "response_format"
STRUCTURED_OUTPUTS = "structured_outputs"

_MAX_BYTES = StructureLimits().max_bytes
_JSON_OBJECT = '{"type": "object"}'


class Form(StrEnum):
    """The kinds of forms. The names are those of the members of `structured_outputs`."""

    JSON = "json"
    REGEX = "regex"
    CHOICE = "choice"
    GRAMMAR = "grammar"


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form of an answer. `source` is the JSON text of a schema or list of choices, a regular expression or a
    grammar. `param` names the field that it came from."""

    form: Form
    source: str
    param: str = field(default=STRUCTURED_OUTPUTS, compare=False)

    def digest(self, salt: bytes = b"") -> bytes:
        """SHA-256 of form, source and salt."""
        return hashlib.sha256(b"\0".join((self.form.encode(), salt, self.source.encode()))).digest()


def read_constraint(fields: Mapping[str, Any], param_prefix: str = "") -> Constraint | None:
    """The form that `response_format` or `structured_outputs` names; None where neither asks for one.

    The values have the shapes of the wire types. Raises `ConstraintRefused`.
    """
    of_format = _of_response_format(fields.get(RESPONSE_FORMAT), f"{param_prefix}{RESPONSE_FORMAT}")
    of_outputs = _of_structured_outputs(fields.get(STRUCTURED_OUTPUTS), f"{param_prefix}{STRUCTURED_OUTPUTS}")
    if of_format is not None and of_outputs is not None:
        message = f"{RESPONSE_FORMAT} and {STRUCTURED_OUTPUTS} both name a form: send only one of them"
        raise ConstraintRefused(message, param=of_outputs.param)
    return of_format or of_outputs


def _of_response_format(value: Mapping[str, Any] | None, param: str) -> Constraint | None:
    if value is None or value["type"] == "text":
        return None
    if value["type"] == "json_object":
        return Constraint(Form.JSON, _JSON_OBJECT, param)
    schema = (value.get("json_schema") or {}).get("schema")
    if schema is None:
        raise ConstraintRefused("json_schema needs a schema", param=f"{param}.json_schema.schema")
    return Constraint(Form.JSON, _json_text(schema, f"{param}.json_schema.schema"), f"{param}.json_schema.schema")


def _of_structured_outputs(value: Mapping[str, Any] | None, param: str) -> Constraint | None:
    given = {} if value is None else {name: one for name, one in value.items() if one is not None}
    if not given:
        return None
    if len(given) > 1:
        raise ConstraintRefused(f"exactly one of {', '.join(Form)} names a form", param=param)
    ((name, source),) = given.items()
    form = Form(name)
    if form is Form.JSON and isinstance(source, str):
        source = _parsed(source, f"{param}.json")
    text = source if isinstance(source, str) else _json_text(source, f"{param}.{form}")
    return Constraint(form, text, f"{param}.{form}")


def _json_text(value: Any, param: str) -> str:
    """A schema or choices as JSON text, unless it is far beyond the bound: to write that takes long."""
    with suppress(ValueError):  # nested too deeply for it
        if len(to_json(value)) > _MAX_BYTES:
            raise _too_long(param)
    return json.dumps(value, ensure_ascii=False)


def _too_long(param: str) -> ConstraintRefused:
    return ConstraintRefused(f"the form is longer than {_MAX_BYTES} bytes", param=param)


def _parsed(text: str, param: str) -> Any:
    if len(text) > _MAX_BYTES:
        raise _too_long(param)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConstraintRefused("the schema is a text, but not JSON", param=param) from error
