"""The page of settings: options, variables, defaults and descriptions, from the fields of `ServeSettings`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from docs.reference.markdown import code, table
from server.cli.serving.serve_options import option_name, variable_name
from server.settings import ServeSettings

_HEAD = """# Settings

Each option of `softprompt serve` has an environment variable. The option takes precedence. With `make serve`, pass
options in `ARGS`. A value out of range ends the start with one line that says what is allowed.

The data folder is by default `softprompt` in the platform's folder for a user's data. On Linux this is
`~/.local/share/softprompt`.

`make reference` writes this page from the code.

"""
_BOUNDS = {"ge": "at least", "gt": "over", "le": "at most", "lt": "under"}


def settings_page() -> str:
    """Return the page as Markdown."""
    return _HEAD + table(
        ["option, variable", "default", "meaning"],
        [
            (f"{code(option_name(name))}<br>{code(variable_name(name))}", code(_default(field)), _text(field))
            for name, field in ServeSettings.model_fields.items()
        ],
    )


def _text(field: FieldInfo) -> str:
    """Return the description, and the range as a sentence."""
    bounds = ", ".join(_bounds(field))
    return f"{field.description or ''} {bounds[:1].upper()}{bounds[1:]}." if bounds else field.description or ""


def _default(field: FieldInfo) -> str:
    """Return the default where it is a value of its own; what None means is part of the description."""
    value: Any = field.default
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _bounds(field: FieldInfo) -> Iterator[str]:
    for one in field.metadata:
        for name, words in _BOUNDS.items():
            if (bound := getattr(one, name, None)) is not None:
                yield f"{words} {bound}"
