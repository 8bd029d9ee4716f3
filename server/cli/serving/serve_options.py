"""The options of `softprompt serve`: one option and one environment variable per field of the settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from server.cli.errors import UsageProblem
from server.settings import ServeSettings


def takes_settings(command: Callable[[ServeSettings], None]) -> Callable[..., None]:
    """Turn a function of the settings into a typer command with one option per field."""

    def run(**given: Any) -> None:
        command(read_settings(given))

    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # mypy does not know this attribute, which inspect documents
        [_parameter(name, field) for name, field in ServeSettings.model_fields.items()]
    )
    return run


def read_settings(given: Mapping[str, Any]) -> ServeSettings:
    """Return the settings; an option that is None was not given. Raises UsageProblem."""
    try:
        return ServeSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise UsageProblem(_describe(problem["loc"], problem["msg"])) from error


def option_name(field_name: str) -> str:
    """Return the option of a field. It is singular for a repeatable field: `--base-name` for `base_names`."""
    singular = field_name.removesuffix("s") if _is_repeatable(ServeSettings.model_fields[field_name]) else field_name
    return "--" + singular.replace("_", "-")


def variable_name(field_name: str) -> str:
    """Return the environment variable of a field."""
    return f"{ServeSettings.model_config['env_prefix']}{field_name}".upper()


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Return the parameter of a field. Values stay text, because only the settings check them."""
    option = typer.Option(option_name(name), help=_help(name, field), metavar=_metavar(field), show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[_kind(field), option]
    )


def _help(name: str, field: FieldInfo) -> str:
    default = field.get_default()
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        return f"{field.description} ({variable_name(name)}, default {default})"
    return f"{field.description} ({variable_name(name)})"


def _kind(field: FieldInfo) -> Any:
    if field.annotation is bool:
        return bool | None
    return list[str] | None if _is_repeatable(field) else str | None


def _metavar(field: FieldInfo) -> str | None:
    if field.annotation is bool:
        return None
    kinds = {kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)}
    if Path in kinds:
        return "PATH"
    return "NUMBER" if kinds & {int, float} else "TEXT"


def _is_repeatable(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _describe(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = str(location[0])
    return f"{option_name(name)} ({variable_name(name)}): {message}" if name in ServeSettings.model_fields else message
