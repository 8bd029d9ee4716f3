"""`POST /v1/embeddings`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.completions import Prompt
from server.api.wire.passive_fields import EMBEDDING_FIELDS, Fields
from server.api.wire.sampling import Usage


class EmbeddingsRequest(RequestBody):
    """One or more inputs to turn into vectors."""

    passive_fields: ClassVar[Fields] = EMBEDDING_FIELDS

    model: ModelName
    """A reference of a task for FEATURE_EXTRACTION."""
    input: Prompt
    """A text, a list of texts, a list of token ids, or a list of such lists. The task's template is applied to texts
    only."""
    encoding_format: Literal["float", "base64"] = "float"
    """`base64` is the vector's float32 numbers, little-endian. The `openai` client asks for it by itself."""
    dimensions: int | None = Field(default=None, ge=1)
    """The length of a vector. Only the base model's own is served: it is never shortened."""
    user: str | None = None
    """Accepted and not used."""
    priority: int | None = Field(default=None, ge=-100, le=100)
    """Requests with a lower number are scheduled earlier. The key sets the lowest number allowed. Default 0."""


class Embedding(ResponseBody):
    """The vector of one input."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """Numbers, or base64."""


class EmbeddingList(ResponseBody):
    """One vector per input, in the order of the inputs.

    Its length is 1, unless the version's manifest sets `normalize` to false.
    """

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage
