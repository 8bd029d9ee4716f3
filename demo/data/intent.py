"""Messages of customers, and their intents: one of eight."""

from __future__ import annotations

import random
from functools import cache

from demo.data.example import Example
from demo.data.grammar import Grammar, Scope, tidy_spaces
from demo.data.surface import typed

LABELS = ("cancel", "refund", "track", "login", "invoice", "address", "hours", "human")

_DEPARTMENT = {
    "refund": "finance", "invoice": "finance", "track": "logistics", "address": "logistics",
    "login": "helpdesk", "human": "helpdesk", "cancel": "retention", "hours": "reception",
}  # fmt: skip
DEPARTMENTS = ("finance", "logistics", "helpdesk", "retention", "reception")
"""Labels of the new task ``route``: they never occur in pre-training."""


@cache
def _grammar() -> Grammar:
    return Grammar("intent.txt")


@cache
def _openings() -> Grammar:
    return Grammar("sentiment_general.txt", "sentiment_domains.txt")


def message(label: str, rng: random.Random) -> str:
    """A customer's message that wants ``label``."""
    text = _grammar().expand(label, rng)
    if rng.random() < 0.4:
        text = tidy_spaces(f"{_grammar().expand('hi', rng)} {text} {_grammar().expand('bye', rng)}")
    elif rng.random() < 0.12:
        scope = Scope((rng.choice(("gadget", "clothes", "home", "service")),))
        text = f"{_openings().expand('neutral', rng, scope)}. {text}"
    if rng.random() < 0.25 and not text.endswith("?"):
        text += "?" if text.split()[0].lower() in _QUESTION_WORDS else ""
    return text or message(label, rng)


_QUESTION_WORDS = frozenset(
    ("what", "when", "where", "who", "how", "why", "is", "are", "do", "does", "did", "can", "could", "will", "has")
)


def sample(rng: random.Random) -> Example:
    """A message and its intent."""
    label = rng.choice(LABELS)
    text = typed(message(label, rng), rng)
    return Example(text, label, text)


def department_of(label: str) -> str:
    """The label of the new task ``route`` for an intent."""
    return _DEPARTMENT[label]
