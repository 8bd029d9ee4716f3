"""Chat messages become one text: the input of a task, or the prompt of the base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.errors import ChatRefused

if TYPE_CHECKING:  # a file of examples is read without a tokenizer, and without the seconds that importing one takes
    from server.tokenizer.tokenizer import Tokenizer


def render_chat(tokenizer: Tokenizer, messages: Sequence[ChatMessage]) -> str:
    """The text of a conversation.

    With a chat template of the tokenizer, that renders it (special tokens included as text). Without one a single
    user message is the text, and anything else is refused. Only the tokenizer's own template is ever rendered.

    Raises `ChatRefused` for a message that would not be in the text.
    """
    if tokenizer.chat_template is not None:
        return tokenizer.chat_template.render(messages)
    if [message.role for message in messages] != ["user"]:
        raise ChatRefused("the base model has no chat template: send one message, of the role 'user'")
    return messages[0].content


def render_input(tokenizer: Tokenizer, text: str) -> str:
    """The text of an input that is a user's message in the base model's chat template.

    Raises `ChatRefused` if the base model has no chat template, and for a text that would not be in it.
    """
    if tokenizer.chat_template is None:
        message = "this version puts inputs into the base model's chat template, and the base model has none"
        raise ChatRefused(message, param="model")
    return tokenizer.chat_template.render([ChatMessage("user", text)])
