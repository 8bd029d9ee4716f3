"""A file of examples, read line by line: JSON objects in one of three forms.

- `{"prompt": …, "completion": …}`
- `{"messages": [{"role": "user", "content": …}, …, {"role": "assistant", "content": …}]}`, as of OpenAI's chat files
- `{"text": …, "label": …}`

A prompt is a task's *input*: the template goes around it later, as it does in serving.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server.tokenizer.chat import ChatMessage
from server.tuning.errors import ExamplesRefused


class ExampleForm(StrEnum):
    """Which of the forms a file is written in; a file has one."""

    COMPLETION = "completion"
    CHAT = "chat"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class ExampleLimits:
    """`max_bytes` a file, `max_examples` lines, `max_line_bytes` a line."""

    max_bytes: int = 64 << 20
    max_examples: int = 1_000_000
    max_line_bytes: int = 1 << 20


ExampleInput = str | tuple[ChatMessage, ...]
"""A text, or the messages before the answer."""


@dataclass(frozen=True, slots=True)
class Example:
    """One line: an input and its answer. `line` counts from 1."""

    prompt: ExampleInput
    completion: str
    line: int


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """What a file holds.

    `labels` are the distinct completions in order of first appearance where the form is `LABEL`, else empty. `digest`
    is the sha256 of the file's bytes in lowercase hexadecimal. `notes` are remarks for a person, such as duplicates.
    """

    form: ExampleForm
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()


def read_examples(chunks: bytes | Iterable[bytes], limits: ExampleLimits = ExampleLimits()) -> ExampleSet:
    """Read a file from its bytes, or from any pieces of them. Raises `ExamplesRefused` at the first bad line.

    Blank lines are skipped. Duplicates are told in `notes`, contradictions (one input, two answers) too.
    """
    reader = _Reader(limits)
    digest = hashlib.sha256()
    for number, line in enumerate(_lines([chunks] if isinstance(chunks, bytes) else chunks, digest, limits), start=1):
        reader.take(line, number)
    return reader.finish(digest.hexdigest())


def _lines(chunks: Iterable[bytes], digest: Any, limits: ExampleLimits) -> Iterator[bytes]:
    """Lines without their ends, whatever the pieces. No more of a line is kept than it may have."""
    rest, num_bytes, number = bytearray(), 0, 0
    for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > limits.max_bytes:
            raise ExamplesRefused(f"the file has more than {limits.max_bytes} bytes", code="file_too_large")
        digest.update(chunk)
        rest += chunk
        *whole, last = rest.split(b"\n")
        yield from (bytes(line) for line in whole)
        number += len(whole)
        if len(last) > limits.max_line_bytes:
            raise _bad_line(f"has more than {limits.max_line_bytes} bytes", number + 1)
        rest = bytearray(last)
    if rest:
        yield bytes(rest)


class _Reader:
    """Collects examples and what is to be said of them as a whole."""

    def __init__(self, limits: ExampleLimits) -> None:
        self._limits = limits
        self._form: ExampleForm | None = None
        self._examples: list[Example] = []
        self._first_lines: dict[ExampleInput, Example] = {}
        self._duplicates: list[int] = []
        self._contradictions: list[int] = []

    def take(self, line: bytes, number: int) -> None:
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            return
        if len(line) > self._limits.max_line_bytes:
            raise _bad_line(f"has more than {self._limits.max_line_bytes} bytes", number)
        if len(self._examples) >= self._limits.max_examples:
            message = f"the file has more than {self._limits.max_examples} examples"
            raise ExamplesRefused(message, code="too_many_examples", line=number)
        form, example = _parse(line, number)
        if self._form not in (None, form):
            message = f"is in the {form} form, but the lines before it are in the {self._form} form"
            raise ExamplesRefused(message, code="mixed_forms", line=number)
        self._form = form
        self._examples.append(example)
        first = self._first_lines.setdefault(example.prompt, example)
        if first is not example:
            (self._duplicates if first.completion == example.completion else self._contradictions).append(number)

    def finish(self, digest: str) -> ExampleSet:
        if self._form is None:
            raise ExamplesRefused("the file has no examples", code="empty_file")
        labels: tuple[str, ...] = ()
        if self._form is ExampleForm.LABEL:
            labels = tuple(dict.fromkeys(example.completion for example in self._examples))
            if len(labels) == 1:
                raise ExamplesRefused(
                    "every example has the same label: nothing is to be told apart", code="single_class"
                )
        notes = [
            _note(self._duplicates, "repeat an earlier example"),
            _note(self._contradictions, "give an earlier input another answer"),
        ]
        return ExampleSet(self._form, tuple(self._examples), labels, digest, tuple(note for note in notes if note))


def _parse(line: bytes, number: int) -> tuple[ExampleForm, Example]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExamplesRefused("is not UTF-8", code="not_utf8", line=number) from error
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad_line("is not JSON", number) from error
    if not isinstance(fields, dict):
        raise _bad_line("is not a JSON object", number)
    match sorted(fields):
        case ["completion", "prompt"]:
            prompt, completion = (_text(fields, name, number) for name in ("prompt", "completion"))
            return ExampleForm.COMPLETION, Example(prompt, completion, number)
        case ["label", "text"]:
            return ExampleForm.LABEL, Example(_text(fields, "text", number), _text(fields, "label", number), number)
        case ["messages"]:
            messages = _messages(fields["messages"], number)
            return ExampleForm.CHAT, Example(messages[:-1], messages[-1].content, number)
        case ["text"]:
            raise _bad_line("has a text but no label", number)
        case ["prompt"]:
            raise _bad_line("has a prompt but no completion", number)
        case _:
            raise _bad_line("has other keys than prompt and completion, or text and label, or messages", number)


def _text(fields: dict[str, Any], name: str, number: int) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise _bad_line(f"has a {name} that is not a text", number)
    if not value.strip():
        raise _bad_line(f"has an empty {name}", number)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _bad_line(f"has half of a surrogate pair in its {name}", number)
    return value


def _messages(value: object, number: int) -> tuple[ChatMessage, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise _bad_line("has messages that are not a list of two or more", number)
    messages = []
    for item in value:
        if not isinstance(item, dict) or not {"role", "content"} <= item.keys():
            raise _bad_line("has a message without role or content", number)
        messages.append(ChatMessage(_text(item, "role", number), _text(item, "content", number)))
    if messages[-1].role != "assistant":
        raise _bad_line("has no answer: the last message is to have the role assistant", number)
    return tuple(messages)


def _bad_line(problem: str, number: int) -> ExamplesRefused:
    return ExamplesRefused(problem, code="bad_line", line=number)


def _note(lines: Sequence[int], what: str) -> str:
    if not lines:
        return ""
    shown = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
    return f"{len(lines)} lines {what} (lines {shown})"
