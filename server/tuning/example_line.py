"""One line of a file of examples: a JSON object in one of three forms.

A key beside those of the form is a *column*, which has no effect and is reported. The keys in `line_fields.LINE_KEYS`
would change what is learnt: a line that asks for something by one of them is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server.tokenizer.chat_message import ChatMessage
from server.tuning.conversations import every_answer, last_answer
from server.tuning.errors import ExamplesRefused
from server.tuning.line_fields import LINE_KEYS, asks_nothing, bad_line, shown_key, shown_keys, text_field


class ExampleForm(StrEnum):
    """Form of a file. Every line of it has the same form."""

    COMPLETION = "completion"
    CHAT = "chat"
    LABEL = "label"


class Reading(StrEnum):
    """Rule for a line of messages that has more than an input and an answer."""

    WHOLE = "whole"
    """Every part of the line has an effect, or the line is refused."""
    LAST_ANSWER = "last_answer"
    """The last message is the answer, and weights and unknown keys are ignored: for jobs of older releases."""


ExampleInput = str | tuple[ChatMessage, ...]
"""A text, or the messages before the answer."""


@dataclass(frozen=True, slots=True)
class Example:
    """An input and its answer. `line` counts from 1; a line of messages has one example per answer."""

    prompt: ExampleInput
    completion: str
    line: int


@dataclass(frozen=True, slots=True)
class ExampleLine:
    """The examples of a line. `columns` are its keys without effect; `has_number`: its label was a whole number."""

    form: ExampleForm
    examples: tuple[Example, ...]
    columns: tuple[str, ...] = ()
    has_number: bool = False


FORM_KEYS: Mapping[ExampleForm, tuple[str, ...]] = {
    ExampleForm.COMPLETION: ("prompt", "completion"),
    ExampleForm.LABEL: ("text", "label"),
    ExampleForm.CHAT: ("messages",),
}
_KEYS_OF_FORMS = tuple(key for keys in FORM_KEYS.values() for key in keys)


def parse_line(line: bytes, number: int, reading: Reading) -> ExampleLine:
    """Read a line that is not blank. Raises `ExamplesRefused`."""
    fields = json_object(line, number, reading)
    form = _form_of(fields, number)
    columns = tuple(_columns(fields, form, number))
    if form is ExampleForm.CHAT:
        turns = (every_answer if reading is Reading.WHOLE else last_answer)(fields["messages"], number)
        return ExampleLine(form, tuple(Example(prompt, answer, number) for prompt, answer in turns), columns)
    input_key, answer_key = FORM_KEYS[form]
    has_number = form is ExampleForm.LABEL and type(fields["label"]) is int
    if has_number:
        fields["label"] = str(fields["label"])
    prompt, answer = (text_field(fields, name, number) for name in (input_key, answer_key))
    return ExampleLine(form, (Example(prompt, answer, number),), columns, has_number)


class _DuplicateKey(Exception):
    """An object has a key twice. A JSON reader would use the last value and drop the other."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _DuplicateKey
    return fields


def json_object(line: bytes, number: int, reading: Reading) -> dict[str, Any]:
    """The JSON object of a line. Raises `ExamplesRefused`, and with the reading WHOLE for a key that is there twice."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExamplesRefused("is not UTF-8", code="not_utf8", line=number) from error
    try:
        fields = json.loads(text, object_pairs_hook=_without_duplicates if reading is Reading.WHOLE else None)
    except _DuplicateKey as error:
        raise bad_line("has a key twice in one object", number) from error
    except (ValueError, RecursionError) as error:
        raise bad_line("is not JSON", number) from error
    if not isinstance(fields, dict):
        raise bad_line("is not a JSON object", number)
    return fields


def _form_of(fields: Mapping[str, Any], number: int) -> ExampleForm:
    """The one form whose keys the line has. A key that is null does not speak for its form."""
    given = [key for key in _KEYS_OF_FORMS if key in fields]
    filled = {key for key in given if fields[key] is not None}
    complete = [form for form, keys in FORM_KEYS.items() if set(keys) <= set(given)]
    forms = [form for form in complete if not filled.isdisjoint(FORM_KEYS[form])] or complete
    if not forms:
        raise bad_line(_without_form(fields, given), number)
    if len(forms) > 1 or filled - set(FORM_KEYS[forms[0]]):
        raise bad_line(f"has keys of more than one form ({', '.join(given)}): leave out all but one form's", number)
    return forms[0]


def _without_form(fields: Mapping[str, Any], given: list[str]) -> str:
    if len(given) == len(fields) == 1:
        pair = next(keys for keys in FORM_KEYS.values() if given[0] in keys)
        missing = next(key for key in pair if key != given[0])
        return f"has a {given[0]} but no {missing}"
    has = f"the keys {shown_keys(fields)}" if fields else "no keys"
    return f"has {has}, but not prompt and completion, nor text and label, nor messages"


def _columns(fields: Mapping[str, Any], form: ExampleForm, number: int) -> list[str]:
    """The keys without effect. Raises `ExamplesRefused` for one that asks for what is not done."""
    others = [name for name in fields if name not in _KEYS_OF_FORMS]
    for name in others:
        if name in LINE_KEYS and not asks_nothing(fields[name], LINE_KEYS[name]):
            beside = " and ".join(FORM_KEYS[form])
            raise bad_line(f"has {shown_key(name)} beside {beside}, which is not supported: leave it out", number)
    return [name for name in others if name not in LINE_KEYS]
