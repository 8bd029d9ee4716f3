"""Remarks on a file of examples, for a person."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NoteLevel(StrEnum):
    """Severity of a note: a plain fact, or something that a person should check."""

    INFO = "info"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Note:
    """A remark. `text` has neither a capital at its start nor a period at its end, so that a prefix can be added.

    `held_out_lines` are the first lines of the training file that are held out, in the note that counts them.
    """

    level: NoteLevel
    text: str
    held_out_lines: tuple[int, ...] = ()


def info(text: str) -> Note:
    """A note of a plain fact."""
    return Note(NoteLevel.INFO, text)


def warning(text: str) -> Note:
    """A note of something that a person should check."""
    return Note(NoteLevel.WARN, text)
