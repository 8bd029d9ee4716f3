"""The form that the answers to a request must have: the request's, else the version's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prompts_store.errors import InvalidManifest
from server.api.inference.served_model import ServedModel
from server.api.wire.bodies import RequestBody
from server.api.wire.sampling import GenerationParameters
from server.structured_outputs.compiled import CompiledConstraint
from server.structured_outputs.compiler import ConstraintCompiler
from server.structured_outputs.constraint import STRUCTURED_OUTPUTS, Constraint, read_constraint
from server.structured_outputs.errors import ConstraintRefused


def constraint_asked(body: GenerationParameters, served: ServedModel) -> Constraint | None:
    """The form of the answers; None is free text. Raises `ConstraintRefused`.

    A `response_format` of type `text` asks for nothing, so that a version's answers keep their form.
    """
    fields = {"response_format": body.response_format, STRUCTURED_OUTPUTS: body.structured_outputs}
    asked = read_constraint({name: _as_sent(value) for name, value in fields.items() if value is not None})
    if asked is not None:
        return asked
    kept = kept_constraint(served.manifest.defaults)
    return None if kept is None else replace(kept, param="model")


def _as_sent(value: Any) -> Any:
    """A body by its names in JSON. Schemas in it are not copied, as `model_dump` does: they may be large."""
    if not isinstance(value, RequestBody):
        return value
    fields = type(value).model_fields
    return {fields[name].alias or name: _as_sent(getattr(value, name)) for name in value.model_fields_set}


def kept_constraint(defaults: Mapping[str, Any]) -> Constraint | None:
    """The form among a version's default parameters."""
    return read_constraint({STRUCTURED_OUTPUTS: defaults.get(STRUCTURED_OUTPUTS)})


async def check_kept_form(defaults: Mapping[str, Any], compiler: ConstraintCompiler, param: str) -> None:
    """Raise `InvalidManifest` for default parameters with a form that cannot be kept; `param` names them."""
    if (constraint := kept_constraint(defaults)) is None:
        return
    try:
        await compiler.compile(constraint, is_continued=False)
    except ConstraintRefused as error:
        raise InvalidManifest(str(error), param=f"{param}.{STRUCTURED_OUTPUTS}") from error


async def compiled_constraint(
    body: GenerationParameters, served: ServedModel, compiler: ConstraintCompiler, *, is_continued: bool
) -> CompiledConstraint | None:
    """The same, compiled. Raises `ConstraintRefused` and `CompilerBusy`."""
    constraint = constraint_asked(body, served)
    if constraint is None:
        return None
    return await compiler.compile(constraint, is_continued=is_continued)
