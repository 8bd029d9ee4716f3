"""Conversations: each answer is an example, and the messages before it are the input.

An answer is a message of the assistant, as in OpenAI's chat files. An answer of weight 0 is context only. The input of
each answer is rendered alone, as serving renders it, so a conversation of several answers is several examples
(decision 0019).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from server.tokenizer.chat_message import ChatMessage
from server.tuning.line_fields import bad_line, text_field

Turn = tuple[tuple[ChatMessage, ...], str]
"""The messages before an answer, and the answer."""

_ROLES = ("system", "developer", "user", "assistant")  # those that `/v1/chat/completions` takes
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def every_answer(value: object, line: int) -> tuple[Turn, ...]:
    """Every answer whose weight is not 0, in order. Raises `ExamplesRefused`, also for a key that has no effect."""
    items = _items(value, line)
    for item in items:
        _check_keys(item, line)
    messages = _messages(items, line)
    for message in messages:
        if message.role not in _ROLES:
            raise bad_line(f"has a message of another role than {', '.join(_ROLES)}", line)
    turns = tuple(
        (messages[:place], message.content)
        for place, message in enumerate(messages)
        if message.role == "assistant" and items[place].get("weight") != 0
    )
    if not turns:
        raise bad_line("has nothing to learn: every answer has the weight 0", line)
    if not turns[0][0]:
        raise bad_line("begins with an answer, before which nothing was said: give it the weight 0", line)
    return turns


def last_answer(value: object, line: int) -> tuple[Turn, ...]:
    """The last answer alone; every other answer is context. Raises `ExamplesRefused`."""
    messages = _messages(_items(value, line), line)
    return ((messages[:-1], messages[-1].content),)


def _items(value: object, line: int) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or len(value) < 2:
        raise bad_line("has messages that are not a list of two or more", line)
    for item in value:
        if not isinstance(item, dict) or not {"role", "content"} <= item.keys():
            raise bad_line("has a message without role or content", line)
    return value


def _messages(items: list[Mapping[str, Any]], line: int) -> tuple[ChatMessage, ...]:
    messages = tuple(ChatMessage(text_field(item, "role", line), text_field(item, "content", line)) for item in items)
    if messages[-1].role != "assistant":
        raise bad_line("has no answer: the last message is to have the role assistant", line)
    return messages


def _check_keys(item: Mapping[str, Any], line: int) -> None:
    """Refuse a key beside role and content that has no effect here."""
    for name, value in item.items():
        if name in ("role", "content") or value in (None, "", [], {}) or value is False:
            continue
        if name != "weight":
            shown = f"'{name}'" if _PLAIN_NAME.fullmatch(name) else "another key"
            raise bad_line(f"has a message with {shown}, which is not supported: leave it out", line)
        if item["role"] != "assistant":
            raise bad_line("has a weight at a message that is no answer: only the assistant's have one", line)
        if value is True or value not in (0, 1):
            raise bad_line("has a weight that is neither 0 nor 1", line)
