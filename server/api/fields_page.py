"""The page of request fields, `docs/fields.md`: done, accepted without effect, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from server.api.management.file_upload import FILE_SCHEMA
from server.api.wire.batches import CreateBatch
from server.api.wire.bodies import RequestBody
from server.api.wire.chat import ChatMessageBody, ChatRequest, ChatTextPart
from server.api.wire.completions import CompletionRequest
from server.api.wire.embeddings import EmbeddingsRequest
from server.api.wire.passive_fields import FILE_FIELDS, Fields, PassiveField
from server.api.wire.sampling import StreamOptions
from server.api.wire.structured import JsonSchemaFormat, ResponseFormat, StructuredOutputs
from server.api.wire.tuning import CreateJob, Hyperparameters, MethodBody, Supervised

PLACES: Mapping[str, type[RequestBody]] = {
    "POST /v1/chat/completions": ChatRequest,
    "POST /v1/chat/completions: messages[]": ChatMessageBody,
    "POST /v1/chat/completions: messages[].content[]": ChatTextPart,
    "POST /v1/completions": CompletionRequest,
    "POST /v1/embeddings": EmbeddingsRequest,
    "stream_options": StreamOptions,
    "response_format": ResponseFormat,
    "response_format: json_schema": JsonSchemaFormat,
    "structured_outputs": StructuredOutputs,
    "POST /v1/batches": CreateBatch,
    "POST /v1/fine_tuning/jobs": CreateJob,
    "POST /v1/fine_tuning/jobs: method": MethodBody,
    "POST /v1/fine_tuning/jobs: method.supervised": Supervised,
    "POST /v1/fine_tuning/jobs: hyperparameters": Hyperparameters,
}
"""The places in requests whose known fields are listed, and the body that reads each."""

_HEAD = """# Request fields

The server reads the fields of OpenAI's interface strictly, by their effect.

- A field that the server acts on is *done*. The OpenAPI document describes it.
- A known field whose value asks for nothing is *accepted* and has no effect. null always asks for nothing.
- A *hint* is accepted with every value, since no answer depends on it.
- A known field that asks for anything else is *refused* by name: status 400, code `unsupported_parameter`.
- Any other field is unknown: status 400, code `unknown_parameter`.

An empty value of a list's query parameter (`?after=`) asks for nothing too.

`make openapi` writes this page from the tables that the server uses.
"""


def fields_page() -> str:
    """Return the page as Markdown."""
    sections = {place: _section(_names(body), body.passive_fields) for place, body in PLACES.items()}
    sections["POST /v1/files"] = _section(FILE_SCHEMA["properties"], FILE_FIELDS)
    return _HEAD + "".join(f"\n## `{place}`\n\n{section}" for place, section in sections.items())


def _names(body: type[RequestBody]) -> list[str]:
    return [field.alias or name for name, field in body.model_fields.items()]


def _section(names: Iterable[str], passive_fields: Fields) -> str:
    done = f"Done: {', '.join(f'`{name}`' for name in sorted(names))}.\n"
    known = sorted(passive_fields.values(), key=lambda field: (field.origin != "OpenAI", field.origin, field.name))
    if not known:
        return done
    rows = "".join(f"| {' | '.join(_row(field))} |\n" for field in known)
    return f"{done}\n| field | interface | accepted | refused otherwise |\n|---|---|---|---|\n{rows}"


def _row(field: PassiveField) -> Iterator[str]:
    yield f"`{field.name}`"
    yield field.origin
    yield "any value (a hint)" if field.is_hint else ", ".join(f"`{json.dumps(one)}`" for one in (None, *field.passive))
    yield "" if field.is_hint else (field.advice or "not supported")
