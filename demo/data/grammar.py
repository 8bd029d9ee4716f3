"""A small text grammar: sections of phrases with choices and references, expanded at random.

A file holds ``[section]`` headers; the entries of a section end at a line break or ``;``. Inside an entry ``{a|b}``
chooses one alternative, ``<name>`` expands another section, and ``<!name>`` the section of the opposite scope.
References are looked up in the scopes given at expansion (``film.pos``: ``film.pos.adj``) and bare; where several
sections bear the name, one is drawn.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LEXICONS = Path(__file__).parent / "lexicons"

_HEADER = re.compile(r"\[([a-z0-9_.]+)\]")


@dataclass(frozen=True, slots=True)
class Reference:
    """``<name>`` or ``<!name>`` inside an entry."""

    name: str
    opposite: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """``{a|b}`` inside an entry."""

    options: tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """One entry, split into literal text, choices and references."""

    parts: tuple[str | Choice | Reference, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """Scopes in which references are looked up first: each prefix in turn, ``opposite`` ones for ``<!name>``."""

    prefixes: tuple[str, ...] = ()
    opposite: tuple[str, ...] = ()


class Grammar:
    """All sections of some lexicon files."""

    def __init__(self, *file_names: str) -> None:
        self._sections: dict[str, tuple[Phrase, ...]] = {}
        for file_name in file_names:
            text = (LEXICONS / file_name).read_text(encoding="utf-8")
            for name, entries in _read_sections(text).items():
                self._sections[name] = tuple(parse_phrase(entry) for entry in entries)

    def section_names(self) -> list[str]:
        """Names of all sections, in file order."""
        return list(self._sections)

    def expand(self, name: str, rng: random.Random, scope: Scope = Scope()) -> str:
        """One random phrase of section ``name``, with single spaces and none before punctuation.

        Raises ``KeyError`` if neither a scoped nor a bare section of that name exists.
        """
        return tidy_spaces(self._expand(self._lookup(name, scope.prefixes, rng), rng, scope))

    def fill(self, pattern: str, rng: random.Random, scope: Scope = Scope()) -> str:
        """``pattern`` expanded as if it were an entry."""
        return tidy_spaces(self._render(parse_phrase(pattern), rng, scope))

    def _lookup(self, name: str, prefixes: Sequence[str], rng: random.Random) -> tuple[Phrase, ...]:
        candidates = [self._sections[key] for p in prefixes if (key := f"{p}.{name}") in self._sections]
        if name in self._sections:
            candidates.append(self._sections[name])
        if not candidates:
            raise KeyError(f"no section {name!r} in scopes {tuple(prefixes)}")
        return rng.choice(candidates)

    def _expand(self, entries: tuple[Phrase, ...], rng: random.Random, scope: Scope) -> str:
        return self._render(entries[int(rng.random() * len(entries))], rng, scope)

    def _render(self, phrase: Phrase, rng: random.Random, scope: Scope) -> str:
        out: list[str] = []
        for part in phrase.parts:
            if isinstance(part, str):
                out.append(part)
            elif isinstance(part, Choice):
                out.append(self._expand(part.options, rng, scope))
            else:
                prefixes = scope.opposite if part.opposite else scope.prefixes
                out.append(self._expand(self._lookup(part.name, prefixes, rng), rng, scope))
        return "".join(out)


def parse_phrase(text: str) -> Phrase:
    """Split one entry; braces nest. Raises ``ValueError`` when they do not balance."""
    phrase, end = _parse(text, 0, top=True)
    if end != len(text):
        raise ValueError(f"unbalanced braces in {text!r}")
    return phrase


def _parse(text: str, start: int, *, top: bool) -> tuple[Phrase, int]:
    parts: list[str | Choice | Reference] = []
    at = start
    while at < len(text):
        char = text[at]
        if char in "|}" and not top:
            break
        if char == "{":
            choice, at = _parse_choice(text, at + 1)
            parts.append(choice)
        elif char == "<" and (close := text.find(">", at)) > 0:
            name = text[at + 1 : close]
            parts.append(Reference(name.removeprefix("!"), name.startswith("!")))
            at = close + 1
        else:
            parts.append(char)
            at += 1
    return Phrase(tuple(_join_literals(parts))), at


def _parse_choice(text: str, start: int) -> tuple[Choice, int]:
    options: list[Phrase] = []
    at = start
    while True:
        option, at = _parse(text, at, top=False)
        options.append(option)
        if at >= len(text):
            raise ValueError(f"unclosed brace in {text!r}")
        at += 1
        if text[at - 1] == "}":
            return Choice(tuple(options)), at


def _join_literals(parts: Sequence[str | Choice | Reference]) -> list[str | Choice | Reference]:
    joined: list[str | Choice | Reference] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def tidy_spaces(text: str) -> str:
    """Single spaces, none at the ends or before closing punctuation."""
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r" ([,.!?:]|'s\b)", r"\1", text)


def _read_sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if header := _HEADER.fullmatch(line.strip()):
            current = sections.setdefault(header.group(1), [])
        elif current is None:
            raise ValueError(f"entry before the first section: {line!r}")
        else:
            current.extend(entry.strip() for entry in line.split(";"))
    return sections
