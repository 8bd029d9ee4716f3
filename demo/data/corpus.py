"""The lines the base model is pre-trained on.

A line is ``{instruction} {input} ->`` and, below it, the output. Beside instructed skills there are lines *without*
an instruction, answered by an unrelated sentence: they are why the bare base does not do any task on its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from demo.data import dates, intent, language, numbers, sentiment
from demo.data.example import Example, may_train_on
from demo.data.grammar import Grammar

NEW_LABELS: tuple[str, ...] = (
    "archiv",
    "escalat",
    "financ",
    "logistic",
    "helpdesk",
    "help desk",
    "retention",
    "reception",
)
"""Stems of the new tasks' labels: no line of pre-training contains one."""


@dataclass(frozen=True, slots=True)
class Line:
    """``output_weight`` is the loss weight of the output's tokens, ``first_weight`` that of its first."""

    prompt: str
    output: str
    output_weight: float = 1.0
    first_weight: float = 1.0


_INSTRUCTIONS = {
    "sentiment": (
        "Sentiment, positive or negative:", "Is this positive or negative?", "Sentiment:", "Say positive or negative:",
        "Is the writer happy? Answer positive or negative:",
    ),
    "date": ("Write the date as YYYY-MM-DD:", "ISO date:", "Date in ISO form:", "Rewrite this date year first:"),
    "intent": ("What does the customer want?", "Intent:", "Name the intent:", "Customer intent:"),
    "language": ("Which language is this?", "Language:", "Name the language:", "What language is it?"),
    "number": ("Spell the number in words:", "In words:", "Write this number in words:", "Number to words:"),
    "copy": ("Repeat:", "Copy the text:", "Say it again:"),
}  # fmt: skip
_SKILLS = {
    "sentiment": sentiment.sample, "date": dates.sample, "intent": intent.sample, "language": language.sample,
    "number": numbers.sample,
}  # fmt: skip
_LABEL_SKILLS = ("sentiment", "intent", "language")

_KINDS = (
    ("sentiment", 34), ("date", 9), ("intent", 10), ("language", 8), ("number", 6), ("flexible", 12), ("copy", 2),
    ("uninstructed", 14), ("plain", 4),
)  # fmt: skip
_FLEXIBLE_TWO = (
    "Say {a} for {x}, {b} for {y}:", "{x}: {a}, {y}: {b}.", "Answer {a} if {x}, {b} if {y}:",
    "Reply {a} ({x}) or {b} ({y}):",
    "If {x}, say {a}; if {y}, say {b}:",
)  # fmt: skip
_GLOSSES = {
    "positive": ("positive", "good", "happy", "praise"),
    "negative": ("negative", "bad", "unhappy", "a complaint"),
}


@cache
def _plain() -> Grammar:
    return Grammar("plain.txt")


def lines(seed: int, reserved: frozenset[str]) -> Iterator[Line]:
    """Endless lines; inputs of held-out splits, reserved inputs and the new tasks' labels never occur."""
    rng = random.Random(seed)
    kinds, weights = [kind for kind, _ in _KINDS], [weight for _, weight in _KINDS]
    while True:
        line = _line(rng.choices(kinds, weights)[0], rng, reserved)
        text = f"{line.prompt}{line.output}".lower()
        if not any(stem in text for stem in NEW_LABELS):
            yield line


def _line(kind: str, rng: random.Random, reserved: frozenset[str]) -> Line:
    match kind:
        case "flexible":
            return _flexible(rng, reserved)
        case "copy":
            text = _any_text(rng, reserved)
            return Line(f"{rng.choice(_INSTRUCTIONS['copy'])} {text} ->\n", text)
        case "uninstructed":
            return _uninstructed(rng, reserved)
        case "plain":
            return Line("", _any_text(rng, reserved), output_weight=0.3)
        case _:
            example = _train_example(kind, rng, reserved)
            prompt = f"{rng.choice(_INSTRUCTIONS[kind])} {example.input} ->\n"
            return Line(prompt, example.output, first_weight=3.0 if kind in _LABEL_SKILLS else 1.0)


def _train_example(skill: str, rng: random.Random, reserved: frozenset[str]) -> Example:
    while True:
        example = _SKILLS[skill](rng)
        if may_train_on(example, reserved):
            return example


def _uninstructed(rng: random.Random, reserved: frozenset[str]) -> Line:
    text = _train_example(rng.choice(list(_SKILLS)), rng, reserved).input
    lead = " " if rng.random() < 0.7 else ""
    return Line(f"{lead}{text} ->\n", _plain().expand("sentence", rng), output_weight=0.3, first_weight=0.3)


def _any_text(rng: random.Random, reserved: frozenset[str]) -> str:
    if rng.random() < 0.4:
        return " ".join(_plain().expand("word", rng) for _ in range(rng.randint(1, 6)))
    if rng.random() < 0.3:
        return _plain().expand("sentence", rng)
    return _train_example(rng.choice(list(_SKILLS)), rng, reserved).input


def _flexible(rng: random.Random, reserved: frozenset[str]) -> Line:
    """An instruction that names its own labels, so that the model learns to bind any word to a meaning."""
    skill = rng.choices(_LABEL_SKILLS, [6, 3, 1])[0]
    example = _train_example(skill, rng, reserved)
    if skill == "sentiment":
        true = example.output
        false = "negative" if true == "positive" else "positive"
    else:
        labels = intent.LABELS if skill == "intent" else language.LABELS
        true = example.output
        false = rng.choice([label for label in labels if label != true])
    right, wrong = _free_label(rng), _free_label(rng)
    pairs = [(right, _gloss(true, rng)), (wrong, _gloss(false, rng))]
    rng.shuffle(pairs)
    (a, x), (b, y) = pairs
    prompt = rng.choice(_FLEXIBLE_TWO).format(a=a, b=b, x=x, y=y)
    return Line(f"{prompt} {example.input} ->\n", right, first_weight=3.0)


def _gloss(label: str, rng: random.Random) -> str:
    return rng.choice(_GLOSSES.get(label, (label,)))


def _free_label(rng: random.Random) -> str:
    word = _plain().expand("word", rng)
    return f"{word} {_plain().expand('word', rng)}" if rng.random() < 0.15 else word
