"""The form that a version's answers have: its default `structured_outputs`.

Only its shape is checked here. A server that knows the base model's tokens says which forms it supports.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

MAX_FORM_CHARACTERS = 65_536
MAX_CHOICES = 1_000

ALLOWED_FORM = (
    "an object with exactly one of json (a schema), regex, choice (a list of texts) and grammar, "
    f"of at most {MAX_FORM_CHARACTERS} characters"
)


def parse_form(value: object) -> dict[str, str | list[str]] | None:
    """Return the form; None for a value that is none.

    A schema becomes its JSON text: the order of its properties is the order of the answer's, and a manifest's content
    has no order.
    """
    given = {name: one for name, one in value.items() if one is not None} if isinstance(value, Mapping) else {}
    if len(given) != 1:
        return None
    ((name, form),) = given.items()
    if name == "choice":
        return {name: form} if _are_choices(form) else None
    if name == "json" and isinstance(form, Mapping):
        form = json.dumps(form, ensure_ascii=False)
    is_known = name in ("json", "regex", "grammar")
    return {name: form} if is_known and isinstance(form, str) and 0 < len(form) <= MAX_FORM_CHARACTERS else None


def _are_choices(value: object) -> bool:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_CHOICES:
        return False
    return all(isinstance(one, str) and one for one in value) and sum(map(len, value)) <= MAX_FORM_CHARACTERS
