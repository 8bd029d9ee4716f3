"""Chat messages become one text: the input of a task, or the prompt of the base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from server.tokenizer.errors import ChatRefused

if TYPE_CHECKING:  # a file of examples is read without a tokenizer, and without the seconds that importing one takes
    from server.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message: its role ("system", "user", "assistant", …) and its text."""

    role: str
    content: str


def render_chat(tokenizer: Tokenizer, messages: Sequence[ChatMessage]) -> str:
    """The text of a conversation.

    With a chat template of the tokenizer, that renders it (special tokens included as text). Without one the last
    user message is the text, and any other role is refused. Only the tokenizer's own template is ever rendered.

    Raises `ChatRefused`.
    """
    if not tokenizer.has_chat_template:
        return _last_user_message(messages)
    try:
        return tokenizer.render_chat_template([asdict(message) for message in messages])
    except TemplateError as error:
        raise ChatRefused("the base model's chat template does not accept these messages") from error


def _last_user_message(messages: Sequence[ChatMessage]) -> str:
    if any(message.role != "user" for message in messages):
        raise ChatRefused("the base model has no chat template: every message must have the role 'user'")
    return messages[-1].content
