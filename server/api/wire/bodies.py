"""What all wire types share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class RequestBody(BaseModel):
    """A request: exact JSON types, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class ResponseBody(BaseModel):
    """A response. Only fields that were set are sent, so that an optional field is absent rather than null."""

    model_config = ConfigDict(use_attribute_docstrings=True)
