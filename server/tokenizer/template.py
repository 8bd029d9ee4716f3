"""A task's template: one literal `{input}`, replaced as text; and what an answer is to the prompt that came of it."""

from __future__ import annotations

from enum import StrEnum

PLACEHOLDER = "{input}"


class PromptForm(StrEnum):
    """What a prompt was before it became token ids: a text, a conversation, or ids already."""

    TEXT = "text"
    CHAT = "chat"
    TOKEN_IDS = "token_ids"


def fill_template(template: str | None, text: str) -> str:
    """The template with the text in place of its placeholder; the text itself where there is no template.

    Nothing else is interpreted: braces in template or text stay what they are.
    """
    return text if template is None else template.replace(PLACEHOLDER, text, 1)


def is_continued(template: str | None, form: PromptForm) -> bool:
    """Whether an answer goes on with its prompt, so that its first token is decoded behind the prompt's.

    That is so of ids, and of a text without a template: "Once upon" goes on with " a time". What answers an input in a
    template, or a conversation, is a text of its own: "positive", as completions are tokenized for training.
    """
    match form:
        case PromptForm.TEXT:
            return template is None
        case PromptForm.CHAT:
            return False
        case PromptForm.TOKEN_IDS:
            return True
