"""The lines of a batch's input file, in OpenAI's format.

Each line is a JSON object with `custom_id`, `method` ("POST"), `url` (the batch's endpoint) and `body`.
Source: https://platform.openai.com/docs/guides/batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prompts_store.batch_records import BatchFault
from prompts_store.errors import InvalidName
from prompts_store.names import TaskReference
from prompts_store.strict_json import JsonRefused, parse_object

MAX_FAULTS = 100
"""Faults that a failed batch lists."""
MAX_ID_LENGTH = 256
_LINES_AT_ONCE = 100
_FIELDS = ("custom_id", "method", "url", "body")


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Maximum number of lines, and maximum size of a line in bytes."""

    max_lines: int
    max_line_bytes: int


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line that is valid. `number` counts from 1; `data` is the line itself, which `body` parses again."""

    number: int
    custom_id: str
    data: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The body for the endpoint."""
        body: dict[str, Any] = json.loads(self.data)["body"]
        return body


@dataclass(frozen=True, slots=True)
class InputFile:
    """The lines of a file and the tasks that they name, or what is wrong with the file."""

    lines: tuple[InputLine, ...] = ()
    tasks: frozenset[str] = frozenset()
    faults: tuple[BatchFault, ...] = ()


class _LineRefused(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def read_input(
    data: bytes, endpoint: str, limits: InputLimits, pause: Callable[[], object] = lambda: None
) -> InputFile:
    """Read a file. Empty lines count as lines and ask nothing. `pause` is called after each hundred lines."""
    lines: list[InputLine] = []
    tasks: set[str] = set()
    faults: list[BatchFault] = []
    first_line: dict[str, int] = {}
    for number, line in _numbered(data):
        if number % _LINES_AT_ONCE == 0:
            pause()
        if len(lines) >= limits.max_lines:
            message = f"The file has more than the maximum of {limits.max_lines} lines (--max-batch-lines)."
            return InputFile(faults=(BatchFault("too_many_lines", message, number),))
        try:
            fields = _fields(line, endpoint, limits)
            before = first_line.setdefault(fields["custom_id"], number)
            if before != number:
                message = f"The custom_id of line {before} is used again: each line needs its own."
                raise _LineRefused("duplicate_custom_id", message, "custom_id")
        except _LineRefused as refused:
            faults.append(BatchFault(refused.code, str(refused), number, refused.param))
            if len(faults) >= MAX_FAULTS:
                break
            continue
        lines.append(InputLine(number, fields["custom_id"], line))
        tasks.update(_task(fields["body"]["model"]))
    if faults:
        return InputFile(faults=tuple(faults))
    if not lines:
        return InputFile(faults=(BatchFault("empty_file", "The file has no lines."),))
    return InputFile(tuple(lines), frozenset(tasks))


def _numbered(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers."""
    begin, number = 0, 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        number += 1
        if line := data[begin:end].strip():
            yield number, line
        begin = end + 1


def _fields(line: bytes, endpoint: str, limits: InputLimits) -> dict[str, Any]:
    """The fields of a line. Raises `_LineRefused`."""
    try:
        fields = parse_object(line, max_bytes=limits.max_line_bytes)
    except JsonRefused as error:
        raise _LineRefused("invalid_json_line", f"This line {error}.") from error
    for name in _FIELDS:
        if name not in fields:
            raise _LineRefused("missing_required_parameter", f"This line lacks {name}.", name)
    if any(name not in _FIELDS for name in fields):
        raise _LineRefused("unknown_parameter", f"This line has an unknown field; allowed are {', '.join(_FIELDS)}.")
    custom_id, body = fields["custom_id"], fields["body"]
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ID_LENGTH:
        message = f"custom_id must be a text of 1 to {MAX_ID_LENGTH} characters."
        raise _LineRefused("invalid_custom_id", message, "custom_id")
    if fields["method"] != "POST":
        raise _LineRefused("invalid_method", "method must be POST.", "method")
    if fields["url"] != endpoint:
        raise _LineRefused("invalid_url", f"url must be the batch's endpoint, {endpoint}.", "url")
    if not isinstance(body, dict):
        raise _LineRefused("invalid_body", "body must be an object.", "body")
    if not isinstance(body.get("model"), str):
        raise _LineRefused("missing_required_parameter", "body lacks model.", "body.model")
    if body.get("stream"):
        raise _LineRefused("stream_not_supported", "A batch has whole answers: leave stream out.", "body.stream")
    return fields


def _task(model: str) -> tuple[str, ...]:
    try:
        return (TaskReference.parse(model).task,)
    except InvalidName:
        return ()
