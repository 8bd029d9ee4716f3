"""A document in chunks, and the messages about each chunk that a base model is asked to write.

The kinds of messages are those of Eyuboglu et al. 2025 ("Cartridges"): questions, lists, summaries, uses and stories. A
small base model writes them only if their first words are given, so a message begins with an opening.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.tokenizer.tokenizer import Tokenizer

MAX_CHUNK_TOKENS = 128
"""Maximum number of tokens of a chunk. A chunk is what a message is about, so a short one covers each fact."""

_QUESTION = "Write one question that the facts above answer."
OPENINGS: tuple[tuple[str, str], ...] = (
    ("What is", _QUESTION),
    ("Who", _QUESTION),
    ("How many", _QUESTION),
    ("Where", _QUESTION),
    ("When", _QUESTION),
    ("Which", _QUESTION),
    ("What did", _QUESTION),
    ("Why", _QUESTION),
    ("List the", "Write a request to list some of the facts above."),
    ("Summarise what", "Write a request to summarise a part of the facts above."),
    ("I would like to know", "Write a message of a person who needs to know one of the facts above."),
    ("Write a short story about", "Write a request for a story about a person or a thing in the facts above."),
)
"""First words of a message, and the request for it: a question, then structuring, summarisation, use case, creative."""

_LONG_WORD = re.compile(r"\w{4,}|\d+")
_OF_THE_TEXT = frozenset(("fact", "facts", "text", "passage", "article", "above", "below", "following"))
_PARAGRAPH, _SENTENCE, _WORD = re.compile(r"\n\s*\n"), re.compile(r"(?<=[.!?])\s+|\n"), re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a message about a chunk. The message begins with `opening`."""

    chunk: str
    request: str
    opening: str

    @property
    def text(self) -> str:
        """The user's message to the base model."""
        return f"{self.chunk}\n\n{self.request}"


def chunks_of(document: str, tokenizer: Tokenizer, max_tokens: int = MAX_CHUNK_TOKENS) -> tuple[str, ...]:
    """Split a document into chunks of at most `max_tokens` tokens, in its order.

    A chunk has whole paragraphs. A longer paragraph is split between sentences, a longer sentence between words. A word
    is never split, so a chunk of one word may be longer.
    """
    return tuple(_pieces(document, tokenizer, max_tokens, ((_PARAGRAPH, "\n\n"), (_SENTENCE, " "), (_WORD, " "))))


def ask_about(chunks: Sequence[str], number: int) -> Ask:
    """Request `number` from 0: the chunks are gone through again and again, each time with another opening."""
    rounds, place = divmod(number, len(chunks))
    opening, request = OPENINGS[(rounds + place) % len(OPENINGS)]
    return Ask(chunks[place], request, opening)


def message_of(ask: Ask, written: str) -> str:
    """The message that was written behind the opening, up to its first line's end or question mark.

    Empty if it is of no use without the chunk: it speaks of the text itself, or shares fewer than two words with it.
    """
    line, *_ = written.split("\n", maxsplit=1)
    text, mark, _ = f"{ask.opening}{line}".partition("?")
    words = _words(text)
    if words & _OF_THE_TEXT or len(words & _words(ask.chunk)) < 2:
        return ""
    return text.strip() + ("?" if mark or ask.request == _QUESTION else "")


def _words(text: str) -> set[str]:
    return set(_LONG_WORD.findall(text.lower()))


def _pieces(
    text: str, tokenizer: Tokenizer, max_tokens: int, levels: tuple[tuple[re.Pattern[str], str], ...]
) -> Iterator[str]:
    """Parts of a text, joined up to the maximum. Longer parts are split at the next level."""
    (border, joint), *rest = levels
    joined = ""
    for part in filter(None, map(str.strip, border.split(text))):
        together = f"{joined}{joint}{part}" if joined else part
        if _num_tokens(tokenizer, together) <= max_tokens:
            joined = together
            continue
        if joined:
            yield joined
        if rest and _num_tokens(tokenizer, part) > max_tokens:
            *whole, joined = _pieces(part, tokenizer, max_tokens, tuple(rest))
            yield from whole
        else:
            joined = part
    if joined:
        yield joined


def _num_tokens(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))
