"""A file of examples, read line by line: JSON objects in one of three forms.

- `{"prompt": …, "completion": …}`
- `{"messages": [{"role": "user", "content": …}, …, {"role": "assistant", "content": …}]}`, as of OpenAI's chat files:
  an example for each answer of the assistant (`conversations.py`)
- `{"text": …, "label": …}`

A prompt is a task's *input*: the template goes around it later, as it does in serving.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server.tokenizer.chat_message import ChatMessage
from server.tuning.conversations import every_answer, last_answer
from server.tuning.errors import ExamplesRefused
from server.tuning.line_fields import bad_line, text_field
from server.tuning.notes import Note, info, warning


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


@dataclass(frozen=True, slots=True)
class ExampleLimits:
    """Limits of a file, of a line in bytes, and of a conversation in messages.

    A conversation of several answers is written once per answer. All of these together may have at most `max_repeats`
    times `max_bytes` characters.
    """

    max_bytes: int = 64 << 20
    max_examples: int = 1_000_000
    max_line_bytes: int = 1 << 20
    max_messages: int = 1024
    max_repeats: int = 4


ExampleInput = str | tuple[ChatMessage, ...]
"""A text, or the messages before the answer."""


@dataclass(frozen=True, slots=True)
class Example:
    """An input and its answer. `line` counts from 1; a line of messages has one example per answer."""

    prompt: ExampleInput
    completion: str
    line: int


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Content of a file.

    With the form `LABEL`, `labels` are the distinct completions in order of first appearance; else it is empty.
    `digest` is the sha256 of the file's bytes in lowercase hexadecimal. `notes` are remarks such as duplicates.
    """

    form: ExampleForm
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    digest: str
    notes: tuple[Note, ...] = ()


def read_examples(
    chunks: bytes | Iterable[bytes], limits: ExampleLimits = ExampleLimits(), reading: Reading = Reading.WHOLE
) -> ExampleSet:
    """Read a file from its bytes, in one or more chunks. Raises `ExamplesRefused` at the first bad line.

    Blank lines are skipped. The notes count the answers of conversations, the duplicates, and the contradictions (one
    input with two answers).
    """
    reader = _Reader(limits, reading)
    digest = hashlib.sha256()
    for number, line in enumerate(_lines([chunks] if isinstance(chunks, bytes) else chunks, digest, limits), start=1):
        reader.take(line, number)
    return reader.finish(digest.hexdigest())


def _lines(chunks: Iterable[bytes], digest: Any, limits: ExampleLimits) -> Iterator[bytes]:
    """Lines without their ends. Memory is bounded by a chunk and the longest allowed line."""
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
            raise bad_line(f"has more than {limits.max_line_bytes} bytes", number + 1)
        rest = bytearray(last)
    if rest:
        yield bytes(rest)


class _Reader:
    """Collects examples, and counts for the notes on them."""

    def __init__(self, limits: ExampleLimits, reading: Reading) -> None:
        self._limits = limits
        self._reading = reading
        self._num_lines = 0
        self._repeated_length = 0
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
            raise bad_line(f"has more than {self._limits.max_line_bytes} bytes", number)
        form, examples = _parse(line, number, self._reading)
        if len(self._examples) + len(examples) > self._limits.max_examples:
            message = f"the file has more than {self._limits.max_examples} examples"
            raise ExamplesRefused(message, code="too_many_examples", line=number)
        if self._form not in (None, form):
            message = f"is in the {form} form, but the lines before it are in the {self._form} form"
            raise ExamplesRefused(message, code="mixed_forms", line=number)
        self._form = form
        if len(examples) > 1:
            self._check_repeats(examples)
        self._num_lines += 1
        self._examples += examples
        for example in examples:
            self._compare(example)

    def _check_repeats(self, examples: Sequence[Example]) -> None:
        """Bound the memory of conversations, whose beginnings are the inputs of several answers."""
        longest, line = examples[-1].prompt, examples[-1].line
        assert not isinstance(longest, str)
        if len(longest) >= self._limits.max_messages:
            raise bad_line(f"has more than {self._limits.max_messages} messages", line)
        lengths = list(itertools.accumulate(map(_written_length, longest), initial=0))
        self._repeated_length += sum(lengths[len(example.prompt)] for example in examples)
        if self._repeated_length > self._limits.max_repeats * self._limits.max_bytes:
            message = "the conversations, each written once per answer, are too long: split the file, or learn fewer"
            raise ExamplesRefused(f"{message} answers of long ones (weight 0)", code="file_too_large", line=line)

    def _compare(self, example: Example) -> None:
        first = self._first_lines.setdefault(example.prompt, example)
        if first is not example:
            same = first.completion == example.completion
            (self._duplicates if same else self._contradictions).append(example.line)

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
        return ExampleSet(self._form, tuple(self._examples), labels, digest, tuple(self._notes()))

    def _notes(self) -> Iterator[Note]:
        if len(self._examples) != self._num_lines:
            answers = f"{len(self._examples)} answers to learn, each of them an example"
            yield info(f"{self._num_lines} conversations have {answers}")
        for lines, problem in (
            (self._duplicates, "repeat an earlier example"),
            (self._contradictions, "give an earlier input another answer"),
        ):
            if lines:
                yield warning(_on_lines(lines, problem))


class _DuplicateKey(Exception):
    """An object has a key twice. A JSON reader would use the last value and drop the other."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _DuplicateKey
    return fields


def _written_length(message: ChatMessage) -> int:
    """Characters of a message, and about the number that a chat template adds around it."""
    return len(message.content) + 8


def _parse(line: bytes, number: int, reading: Reading) -> tuple[ExampleForm, tuple[Example, ...]]:
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
    match sorted(fields):
        case ["completion", "prompt"]:
            prompt, completion = (text_field(fields, name, number) for name in ("prompt", "completion"))
            return ExampleForm.COMPLETION, (Example(prompt, completion, number),)
        case ["label", "text"]:
            text, label = (text_field(fields, name, number) for name in ("text", "label"))
            return ExampleForm.LABEL, (Example(text, label, number),)
        case ["messages"]:
            turns = (every_answer if reading is Reading.WHOLE else last_answer)(fields["messages"], number)
            return ExampleForm.CHAT, tuple(Example(prompt, answer, number) for prompt, answer in turns)
        case ["text"]:
            raise bad_line("has a text but no label", number)
        case ["prompt"]:
            raise bad_line("has a prompt but no completion", number)
        case _:
            raise bad_line("has other keys than prompt and completion, or text and label, or messages", number)


def _on_lines(numbers: Iterable[int], problem: str) -> str:
    lines = list(dict.fromkeys(numbers))
    shown = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
    return f"{len(lines)} lines {problem} (lines {shown})"
