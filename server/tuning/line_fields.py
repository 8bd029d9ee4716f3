"""Checks of a line's fields, and the keys that ask for nothing.

Logs of clients and exports of data sets have many keys. A key asks for nothing where its value is empty, or one that a
table here lists; a hint does with every value. The tables agree with those of the chat route.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from server.tuning.errors import ExamplesRefused

MESSAGE_HINTS = frozenset({"annotations", "cache_control", "id", "name", "parsed", "provider_specific_fields"})
"""Keys of a message that no prompt depends on."""
PART_HINTS = frozenset({"annotations", "cache_control", "prompt_cache_breakpoint"})
"""The same of a part of a message's content."""
LINE_KEYS: Mapping[str, tuple[Any, ...]] = {
    "function_call": ("none", "auto"),
    "functions": (),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": (),
    "weight": (1,),
} | dict.fromkeys(
    (
        *("audio", "chosen", "context", "documents", "history", "image", "images", "input", "instruction"),
        *("non_preferred_output", "output", "preferred_output", "rejected", "system", "system_prompt", "text_pair"),
    ),
    (),
)
"""Keys beside those of a form that say what is learnt, in requests of OpenAI's interface and in files of other tools,
each with its values that ask for nothing. Every other key is a column."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_SHOWN = 8


def asks_nothing(value: Any, passive: tuple[Any, ...] = ()) -> bool:
    """Whether a value is empty, or one of `passive`. Numbers are equal by value; true is no number."""
    if value in (None, "", [], {}) or value is False:
        return True
    return any(isinstance(value, bool) == isinstance(one, bool) and value == one for one in passive)


def text_of(value: object, name: str, line: int) -> str:
    """Return a value that is a text. Raises `ExamplesRefused`."""
    if not isinstance(value, str):
        raise bad_line(f"has a {name} that is not a text", line)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise bad_line(f"has half of a surrogate pair in its {name}", line)
    return value


def text_field(fields: Mapping[str, Any], name: str, line: int) -> str:
    """Return a field that holds a text with more than white space. Raises `ExamplesRefused`."""
    text = text_of(fields[name], name, line)
    if not text.strip():
        raise bad_line(f"has an empty {name}", line)
    return text


def shown_keys(names: Iterable[str]) -> str:
    """The names for a message, the first few; a name that is not plain is not repeated."""
    plain = list(dict.fromkeys(name if _PLAIN_KEY.fullmatch(name) else "…" for name in names))
    return ", ".join(plain[:_MAX_SHOWN]) + (", …" if len(plain) > _MAX_SHOWN else "")


def shown_key(name: str) -> str:
    """One name for a message."""
    return f"'{name}'" if _PLAIN_KEY.fullmatch(name) else "another key"


def bad_line(problem: str, line: int) -> ExamplesRefused:
    """The error for a bad line. `problem` is a sentence without its subject, the line."""
    return ExamplesRefused(problem, code="bad_line", line=line)
