"""Variations of typing: without capitals, without full stops, without apostrophes, with slips."""

from __future__ import annotations

import random
import re
import unicodedata

_FULL_FORMS = {
    "can't": "cannot", "won't": "will not", "n't": " not", "i'm": "I am", "i've": "I have", "i'd": "I would",
    "it's": "it is", "i'll": "I will", "we're": "we are", "they're": "they are", "that's": "that is",
}  # fmt: skip


def typed(text: str, rng: random.Random) -> str:
    """``text`` as somebody might type it: letter case, end mark, contractions and slips vary."""
    if rng.random() < 0.12:
        text = expand_contractions(text)
    if rng.random() < 0.12:
        text = text.replace("'", "")
    text = _letter_case(text, rng)
    if rng.random() < 0.05:
        text = _slip(text, rng)
    return _end_mark(text, rng)


def expand_contractions(text: str) -> str:
    """``can't`` to ``cannot``, ``isn't`` to ``is not`` and so on."""
    for short, full in _FULL_FORMS.items():
        text = re.sub(re.escape(short) + r"\b", full, text, flags=re.IGNORECASE)
    return text


def without_accents(text: str) -> str:
    """``où`` to ``ou``, ``¿`` dropped: the keyboard of a visitor."""
    decomposed = unicodedata.normalize("NFD", text.replace("¿", "").replace("ß", "ss"))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def capitalised(text: str) -> str:
    """The first letter in upper case, the rest as it was."""
    return text[:1].upper() + text[1:]


def _letter_case(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.3:
        return text.lower()
    if draw < 0.32:
        return text.upper()
    return capitalised(text) if draw < 0.85 else text


def _end_mark(text: str, rng: random.Random) -> str:
    if text[-1:] in ".!?:,":
        return text.rstrip(".,:") if rng.random() < 0.3 else text
    return text + rng.choices(["", ".", "!", "!!", "...", "!!!"], [45, 38, 12, 2, 2, 1])[0]


def _slip(text: str, rng: random.Random) -> str:
    if len(text) < 8:
        return text
    at = rng.randrange(1, len(text) - 2)
    if not text[at : at + 2].isalpha():
        return text
    swapped = text[at + 1] + text[at]
    return text[:at] + rng.choice([swapped, text[at], text[at] * 2 + text[at + 1]]) + text[at + 2 :]
