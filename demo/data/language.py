"""Sentences of five languages and the language's English name."""

from __future__ import annotations

import random
from functools import cache

from demo.data import intent, sentiment
from demo.data.example import Example
from demo.data.grammar import Grammar
from demo.data.surface import typed, without_accents

LABELS = ("English", "French", "German", "Spanish", "Italian")

_CODES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es", "Italian": "it"}
_ANYWHERE = (
    "Anna", "Paul", "Maria", "Berlin", "Paris", "Roma", "Madrid", "London", "pizza", "hotel", "taxi", "internet",
    "radio", "Peter", "Laura", "Sofia", "Max", "Italia", "Europa", "Amerika", "Tokyo", "Milano", "Wien", "bar",
    "computer", "email", "pasta", "film", "sport", "Julia", "Marco", "Hans", "Pierre", "John", "Barcelona", "Lyon",
    "Hamburg", "New York",
)  # fmt: skip


@cache
def _grammar() -> Grammar:
    return Grammar("language.txt")


def sentence(label: str, rng: random.Random) -> str:
    """A sentence, or a handful of frequent words, of one language."""
    code, draw = _CODES[label], rng.random()
    if code == "en" and draw < 0.4:
        return _other_english(rng)
    if draw < 0.75:
        text = _grammar().expand(f"{code}.s", rng)
    elif draw < 0.9:
        text = _words(code, rng)
    else:
        text = f"{_grammar().expand(f'{code}.s', rng)} {_words(code, rng)}"
    return text


def _words(code: str, rng: random.Random) -> str:
    words = [_grammar().expand(f"{code}.w", rng) for _ in range(rng.randint(2, 7))]
    if rng.random() < 0.35:
        words.insert(rng.randint(0, len(words)), rng.choice(_ANYWHERE))
    return " ".join(words)


def _other_english(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return intent.message(rng.choice(intent.LABELS), rng)
    return sentiment.opinion(rng.choice(("pos", "neg")), rng)


def sample(rng: random.Random) -> Example:
    """A sentence and its language."""
    label = rng.choice(LABELS)
    text = typed(sentence(label, rng), rng)
    if rng.random() < 0.12:
        text = without_accents(text)
    elif label == "French" and rng.random() < 0.4:
        text = text.replace("?", " ?").replace("!", " !")
    return Example(text, label, text)
