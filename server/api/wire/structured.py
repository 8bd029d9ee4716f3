"""The fields of a request that give its answers a form."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from server.api.wire.bodies import RequestBody
from server.api.wire.passive_fields import STRUCTURED_FIELDS, Fields


class JsonSchemaFormat(RequestBody):
    """A JSON schema, with OpenAI's names."""

    name: str = Field(min_length=1, max_length=64)
    """The caller's name for the schema. It changes nothing."""
    description: str | None = None
    """A note. It changes nothing: say in a message what the answer is for."""
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    """The schema, of the supported keywords. Any other keyword is refused by name."""
    strict: bool | None = None
    """Accepted with every value: an answer always keeps its whole schema."""


class ResponseFormat(RequestBody):
    """The form of the answers, with OpenAI's names."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "person",
                        "schema": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                            "required": ["name", "age"],
                            "additionalProperties": False,
                        },
                    },
                }
            ]
        }
    )

    type: Literal["text", "json_object", "json_schema"]
    """`text` asks for nothing; `json_object` for any JSON object."""
    json_schema: JsonSchemaFormat | None = None
    """The schema of type `json_schema`."""

    @model_validator(mode="after")
    def _schema_belongs_to_its_type(self) -> Self:
        has_schema = self.json_schema is not None and self.json_schema.schema_ is not None
        if has_schema != (self.type == "json_schema"):
            raise ValueError("json_schema.schema is needed with type json_schema, and with no other")
        return self


class StructuredOutputs(RequestBody):
    """The form of the answers, with vLLM's names: exactly one member."""

    passive_fields: ClassVar[Fields] = STRUCTURED_FIELDS

    json_: dict[str, Any] | str | None = Field(default=None, alias="json")
    """A JSON schema, or its JSON text."""
    regex: str | None = None
    """A regular expression that the whole answer matches (Rust's syntax, without look-around)."""
    choice: Annotated[list[str], Field(fail_fast=True)] | None = None
    """Texts of which the answer is one."""
    grammar: str | None = None
    """A context-free grammar whose rule `start` is the answer (Lark's syntax), or `root` (llama.cpp's GBNF)."""
