"""A file of inputs: lines of text, or JSON objects with `prompt` or `text`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import Example, ExampleForm, Reading, json_object
from server.tuning.examples import ExampleLimits, ExampleSet
from server.tuning.line_fields import LINE_KEYS, asks_nothing, bad_line, shown_key, shown_keys, text_field
from server.tuning.notes import Note, info, warning
from server.tuning.teaching import MIN_INPUTS

_LIMITS = ExampleLimits()
_KEYS = ("prompt", "text")
_MAX_SHOWN_LINES = 5


def is_plain_text(filename: str) -> bool:
    """Whether each line of the file of this name is an input as it stands; else it is a JSON object."""
    return filename.lower().endswith(".txt")


def read_inputs(
    content: bytes, *, is_text: bool, limits: ExampleLimits = _LIMITS, min_inputs: int = MIN_INPUTS
) -> ExampleSet:
    """Read inputs as examples without an answer. Blank lines are skipped, and so are lines equal to an earlier one.

    Raises `ExamplesRefused` at the first bad line, and for fewer different inputs than `min_inputs`.
    """
    if len(content) > limits.max_bytes:
        raise ExamplesRefused(f"the file has more than {limits.max_bytes} bytes", code="file_too_large")
    first: dict[str, Example] = {}
    repeated: list[int] = []
    columns: dict[str, None] = {}
    for number, line in _lines(content, limits):
        text = _text_of(line, number) if is_text else _input_of(line, number, columns)
        if text in first:
            repeated.append(number)
            continue
        first[text] = Example(text, "", number)
        if len(first) > limits.max_examples:
            message = f"the file has more than {limits.max_examples} inputs"
            raise ExamplesRefused(message, code="too_many_examples", line=number)
    if not first:
        raise ExamplesRefused("the file has no inputs: every line is empty", code="empty_file")
    if len(first) < min_inputs:
        message = f"the file has {len(first)} different inputs, and a distillation needs {min_inputs}"
        raise ExamplesRefused(message, code="too_few_examples")
    digest = hashlib.sha256(content).hexdigest()
    return ExampleSet(ExampleForm.COMPLETION, tuple(first.values()), (), digest, tuple(_notes(repeated, columns)))


def _lines(content: bytes, limits: ExampleLimits) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if len(line) > limits.max_line_bytes:
            raise bad_line(f"has more than {limits.max_line_bytes} bytes", number)
        if line.strip():
            yield number, line.removesuffix(b"\r")


def _text_of(line: bytes, number: int) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ExamplesRefused("is not UTF-8", code="not_utf8", line=number) from error
    if not text.strip():
        raise bad_line("has white space alone", number)
    return text


def _input_of(line: bytes, number: int, columns: dict[str, None]) -> str:
    found = json_object(line, number, Reading.WHOLE)
    if "messages" in found:
        raise bad_line("has messages, and a distillation takes texts: send each as prompt or text", number)
    keys = [key for key in _KEYS if key in found]
    if len(keys) != 1:
        raise bad_line("needs an input: one of prompt and text", number)
    for name in found:
        if name in LINE_KEYS and not asks_nothing(found[name], LINE_KEYS[name]):
            raise bad_line(f"has {shown_key(name)} beside {keys[0]}, which is not supported: leave it out", number)
    columns |= dict.fromkeys(name for name in found if name != keys[0] and name not in LINE_KEYS)
    return text_field(found, keys[0], number)


def _notes(repeated: list[int], columns: Iterable[str]) -> Iterator[Note]:
    if names := list(columns):
        yield info(f"only the inputs are used, and the teacher answers them; the file has also: {shown_keys(names)}")
    if repeated:
        shown = ", ".join(map(str, repeated[:_MAX_SHOWN_LINES])) + (", …" if len(repeated) > _MAX_SHOWN_LINES else "")
        yield warning(f"{len(repeated)} lines repeat an earlier input and are left out (lines {shown})")
