"""A file of examples, read line by line: JSON objects in one of three forms.

- `{"prompt": …, "completion": …}`
- `{"messages": [{"role": "user", "content": …}, …, {"role": "assistant", "content": …}]}`, as of OpenAI's chat files:
  an example for each answer of the assistant (`conversations.py`)
- `{"text": …, "label": …}`

`example_line.py` reads a line. A prompt is a task's *input*: the template goes around it later, as it does in serving.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from server.tokenizer.chat_message import ChatMessage
from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import (
    FORM_KEYS,
    Example,
    ExampleForm,
    ExampleInput,
    ExampleLine,
    Reading,
    parse_line,
)
from server.tuning.line_fields import bad_line, shown_keys
from server.tuning.notes import Note, info, warning

_MAX_COLUMNS = 100


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

    Blank lines are skipped. The notes count the answers of conversations, the labels that are numbers, the duplicates,
    and the contradictions (one input with two answers). They name columns without effect.
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
        self._num_numbers = 0
        self._columns: dict[str, None] = {}
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
        parsed = parse_line(line, number, self._reading)
        form, examples = parsed.form, parsed.examples
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
        self._num_numbers += parsed.has_number
        self._note_columns(parsed)
        self._examples += examples
        for example in examples:
            self._compare(example)

    def _note_columns(self, parsed: ExampleLine) -> None:
        """Keep the names of the first columns: there may be a million."""
        if len(self._columns) < _MAX_COLUMNS:
            self._columns |= dict.fromkeys(parsed.columns)

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
        if self._columns:
            assert self._form is not None
            used = " and ".join(FORM_KEYS[self._form])
            yield info(f"only {used} are used; the file has further columns: {shown_keys(self._columns)}")
        if self._num_numbers:
            yield info(f"{self._num_numbers} labels are whole numbers; each is learnt as its decimal text")
        for lines, problem in (
            (self._duplicates, "repeat an earlier example"),
            (self._contradictions, "give an earlier input another answer"),
        ):
            if lines:
                yield warning(_on_lines(lines, problem))


def _written_length(message: ChatMessage) -> int:
    """Characters of a message, and about the number that a chat template adds around it."""
    return len(message.content) + 8


def _on_lines(numbers: Iterable[int], problem: str) -> str:
    lines = list(dict.fromkeys(numbers))
    shown = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
    return f"{len(lines)} lines {problem} (lines {shown})"
