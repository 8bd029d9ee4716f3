"""A task's template: one literal `{input}`, replaced as text."""

from __future__ import annotations

PLACEHOLDER = "{input}"


def fill_template(template: str | None, text: str) -> str:
    """The template with the text in place of its placeholder; the text itself where there is no template.

    Nothing else is interpreted: braces in template or text stay what they are.
    """
    return text if template is None else template.replace(PLACEHOLDER, text, 1)
