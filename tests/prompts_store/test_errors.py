"""The exception tree: every error has a code of its own and its place in the drawing."""

from __future__ import annotations

import inspect

from prompts_store import errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.StoreError)]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").islower() for code in codes)


def test_every_error_is_in_the_drawing() -> None:
    drawn = (errors.__doc__ or "").replace("│", " ").split()
    assert all(kind.__name__ in drawn for kind in CLASSES)
