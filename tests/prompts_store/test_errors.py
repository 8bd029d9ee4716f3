"""The exception tree: every error has a code of its own and its place in the drawing."""

from __future__ import annotations

import inspect

from prompts_store import errors, tuning_errors

MODULES = (errors, tuning_errors)
CLASSES = {
    kind
    for module in MODULES
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, errors.StoreError)
}


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").islower() for code in codes)


def test_every_error_is_in_the_drawing_of_its_file() -> None:
    """Under its base, which may be of the other file."""
    for module in MODULES:
        drawn = (module.__doc__ or "").replace("│", " ").split()
        own = [kind for kind in CLASSES if kind.__module__ == module.__name__]
        assert all({kind.__name__, kind.__bases__[0].__name__} <= {*drawn, "Exception"} for kind in own)
