"""Conversations: each answer is an example, and the messages before it are the input.

An answer is a message of the assistant, as in OpenAI's chat files. An answer of weight 0 is context only. The input of
each answer is rendered alone, as serving renders it, so a conversation of several answers is several examples
(decision 0019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.tokenizer.chat_message import ChatMessage
from server.tuning.line_fields import MESSAGE_HINTS, PART_HINTS, asks_nothing, bad_line, shown_key, text_field, text_of

Turn = tuple[tuple[ChatMessage, ...], str]
"""The messages before an answer, and the answer."""

_ROLES = ("system", "developer", "user", "assistant")  # those that `/v1/chat/completions` takes


def every_answer(value: object, line: int) -> tuple[Turn, ...]:
    """Every answer whose weight is not 0, in order. Raises `ExamplesRefused`, also for a key that has no effect."""
    items = _objects(value, line)
    for item in items:
        _check_keys(item, line)
    _check_complete(items, line)
    messages = tuple(_message(item, line) for item in items)
    _check_last(messages, line)
    turns = tuple(
        (messages[:place], message.content) for place, message in enumerate(messages) if _is_learnt(items[place])
    )
    if not turns:
        raise bad_line("has nothing to learn: every answer has the weight 0", line)
    if not turns[0][0]:
        raise bad_line("begins with an answer, before which nothing was said: give it the weight 0", line)
    return turns


def last_answer(value: object, line: int) -> tuple[Turn, ...]:
    """The last answer alone; every other answer is context. Raises `ExamplesRefused`."""
    items = _objects(value, line)
    _check_complete(items, line)
    messages = tuple(ChatMessage(text_field(item, "role", line), text_field(item, "content", line)) for item in items)
    _check_last(messages, line)
    return ((messages[:-1], messages[-1].content),)


def _objects(value: object, line: int) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or len(value) < 2:
        raise bad_line("has messages that are not a list of two or more", line)
    if not all(isinstance(item, dict) for item in value):
        raise bad_line("has a message that is not a JSON object", line)
    return value


def _check_complete(items: Sequence[Mapping[str, Any]], line: int) -> None:
    if not all({"role", "content"} <= item.keys() for item in items):
        raise bad_line("has a message without role or content", line)


def _check_last(messages: Sequence[ChatMessage], line: int) -> None:
    if messages[-1].role != "assistant":
        raise bad_line("has no answer: the last message is to have the role assistant", line)


def _is_learnt(item: Mapping[str, Any]) -> bool:
    return bool(item["role"] == "assistant" and item.get("weight") != 0)


def _message(item: Mapping[str, Any], line: int) -> ChatMessage:
    """The message as the chat route reads it. A user's text and an answer to learn have more than white space."""
    role = text_field(item, "role", line)
    if role not in _ROLES:
        raise bad_line(f"has a message of another role than {', '.join(_ROLES)}", line)
    content = item["content"]
    if isinstance(content, list):
        content = "".join(_text_of_part(part, line) for part in content)
    if content is None and role == "assistant" and not _is_learnt(item):
        content = ""
    text = text_of(content, "content", line)
    if not text.strip() and (role == "user" or _is_learnt(item)):
        raise bad_line("has an empty content", line)
    return ChatMessage(role, text)


def _text_of_part(part: object, line: int) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or "text" not in part:
        raise bad_line("has a content with a part that is not a text", line)
    for name, value in part.items():
        if name not in ("type", "text") and name not in PART_HINTS and not asks_nothing(value):
            raise bad_line(
                f"has a part of a content with {shown_key(name)}, which is not supported: leave it out", line
            )
    return text_of(part["text"], "content", line)


def _check_keys(item: Mapping[str, Any], line: int) -> None:
    """Refuse a key beside role and content that has no effect here."""
    for name, value in item.items():
        if name in ("role", "content") or name in MESSAGE_HINTS or asks_nothing(value):
            continue
        if name != "weight":
            raise bad_line(f"has a message with {shown_key(name)}, which is not supported: leave it out", line)
        if item.get("role") != "assistant":
            raise bad_line("has a weight at a message that is no answer: only the assistant's have one", line)
        if value is True or value not in (0, 1):
            raise bad_line("has a weight that is neither 0 nor 1", line)
