"""A task's template: one literal `{input}`, replaced as text; and whether an answer continues its prompt."""

from __future__ import annotations

from enum import StrEnum

PLACEHOLDER = "{input}"


class PromptForm(StrEnum):
    """The form of a prompt before encoding: a text, a conversation, or token ids."""

    TEXT = "text"
    CHAT = "chat"
    TOKEN_IDS = "token_ids"


def fill_template(template: str | None, text: str) -> str:
    """The template with the text in place of its placeholder; the text itself where there is no template.

    Nothing else is interpreted: braces in template or text stay what they are.
    """
    return text if template is None else template.replace(PLACEHOLDER, text, 1)


def is_continued(form: PromptForm, *, has_prompt_form: bool) -> bool:
    """Whether an answer continues its prompt, so that its first token is decoded behind the prompt's.

    `has_prompt_form`: the version puts inputs into a template, its own or the base model's chat template.

    An answer to token ids, or to a text without a template, does: "Once upon" continues with " a time". An answer to an
    input in a template, or to a conversation, is a text of its own: "positive", as completions are tokenized for
    training.
    """
    match form:
        case PromptForm.TEXT:
            return not has_prompt_form
        case PromptForm.CHAT:
            return False
        case PromptForm.TOKEN_IDS:
            return True
