"""Bases of all wire types."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator, model_validator
from pydantic_core import to_json

from server.api.wire.passive_fields import Fields, without_passive

_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
_HOLDS_TEXT = (str, list, dict)

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Metadata = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=64)], Annotated[str, StringConstraints(max_length=512)]
]
"""Notes of a client, at most 16 of them."""


class RequestBody(BaseModel):
    """A request: exact JSON types, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    passive_fields: ClassVar[Fields] = {}
    """Known fields that are accepted where they ask for nothing."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_passive(cls, body: Any) -> Any:
        return without_passive(cls.passive_fields, body)

    @field_validator("*", mode="before")
    @classmethod
    def _whole_characters(cls, value: Any) -> Any:
        """Refuse half of a surrogate pair: JSON can escape it, but no tokenizer and no database takes it."""
        if not _may_hold_half_pair(value):
            return value
        nodes: list[Any] = [[value]]
        while nodes:
            node = nodes.pop()
            if isinstance(node, str):
                if _HALF_PAIR.search(node):
                    raise ValueError("holds half of a surrogate pair")
                continue
            items = (*node, *node.values()) if isinstance(node, dict) else node
            nodes.extend([item for item in items if isinstance(item, _HOLDS_TEXT)])  # not numbers: may be millions
        return value


def _may_hold_half_pair(value: Any) -> bool:
    """Whether a value must be searched text by text: a large one takes tens of milliseconds of all requests' time.

    pydantic's serialiser writes it as UTF-8, which has no halves.
    """
    try:
        to_json(value)
    except ValueError:  # half of a pair, not JSON, or nested deeply
        return True
    return False


class ResponseBody(BaseModel):
    """A response. Only fields that were set are sent, so that an optional field is absent rather than null."""

    model_config = ConfigDict(use_attribute_docstrings=True)
