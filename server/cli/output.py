"""Output to the terminal: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

_Item = TypeVar("_Item")
# Control characters except tab and line feed, halves of surrogate pairs, and characters that set the writing direction.
_DRIVES_TERMINAL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_WIDE = 10_000  # columns: nothing is cut off if the output is not a terminal


def printable(text: str) -> str:
    """Return `text` with control characters replaced, so that a server's or model's text cannot drive the terminal."""
    return _DRIVES_TERMINAL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Return `text` on one line, without control characters."""
    return printable(" ".join(text.split()))


def print_json(value: Any, time_text: Callable[[datetime], str] = datetime.isoformat) -> None:
    """Print a value that may hold dataclasses and times as JSON.

    Characters that would drive the terminal, or that its encoding lacks, are escaped.
    """
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=2, ensure_ascii=not is_unicode, default=partial(_plain, time_text=time_text))
    print(_DRIVES_TERMINAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns, cut to the width of the terminal if there is one."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else one_line(str(cell)), no_wrap=True) for cell in row))
    console_of(sys.stdout).print(table)


def print_error(message: str) -> None:
    """Print the line that says why a command failed."""
    print(f"softprompt: {one_line(message)}", file=sys.stderr)


def print_note(message: str) -> None:
    """Print a line beside the result of a command that succeeds."""
    print(f"note: {one_line(message)}", file=sys.stderr)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a spinner while the block runs, if standard error is a terminal."""
    console = console_of(sys.stderr)
    if not console.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield


def advancing(what: str, items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield the items and show a progress bar, if standard error is a terminal."""
    console = console_of(sys.stderr)
    if not console.is_terminal:
        yield from items
        return
    from rich.progress import track

    yield from track(items, description=what, console=console, transient=True)


def console_of(stream: Any) -> Console:
    """Return a console on a stream that prints text unchanged, without markup."""
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    if not console.is_terminal or console.width < 1:  # COLUMNS=0 would show nothing
        console.width = _WIDE
    return console


def fields_of(record: object, names: Sequence[str]) -> dict[str, Any]:
    """Return these attributes of a record, in this order."""
    return {name: getattr(record, name) for name in names}


def _plain(value: Any, time_text: Callable[[datetime], str]) -> Any:
    if isinstance(value, datetime):
        return time_text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
