"""Groups of options as dataclasses: a command has one parameter per group, the user sees one option per field."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a function into a typer command: a parameter whose type is a dataclass becomes one option per field."""
    parameters = inspect.signature(command, eval_str=True).parameters
    kinds = {name: one.annotation for name, one in parameters.items() if isinstance(one.annotation, type)}
    groups = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}
    fields = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}

    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in fields[name]})
        command(**given)

    shown: list[inspect.Parameter] = []
    for name, one in parameters.items():
        shown += fields[name].values() if name in fields else [one]
    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # mypy does not know this attribute, which inspect documents
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shown]
    )
    return run
