"""The demo tasks: the description, the source of examples and the tuning of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from demo.data import dates, intent, language, numbers, sentiment
from demo.data.example import Example, Split, may_judge_by, may_train_on, normalised


@dataclass(frozen=True, slots=True)
class DemoTask:
    """``init_text`` None means random initialisation; ``instruction`` is the baseline in plain words."""

    name: str
    description: str
    sample: Callable[[random.Random], Example]
    labels: tuple[str, ...] | None
    instruction: str
    max_tokens: int
    note: str
    peft_type: Literal["PROMPT_TUNING", "PREFIX_TUNING"] = "PROMPT_TUNING"
    num_virtual_tokens: int = 12
    init_text: str | None = None
    num_steps: int = 150
    learning_rate: float = 0.5
    is_new: bool = False


def _triage(rng: random.Random) -> Example:
    known = sentiment.sample(rng)
    return Example(known.input, "archive" if known.output == "positive" else "escalate", known.key)


def _route(rng: random.Random) -> Example:
    known = intent.sample(rng)
    return Example(known.input, intent.department_of(known.output), known.key)


TASKS: tuple[DemoTask, ...] = (
    DemoTask(
        name="sentiment",
        description="Says whether an opinion in English is positive or negative.",
        sample=sentiment.sample,
        labels=sentiment.LABELS,
        instruction="Sentiment, positive or negative:",
        max_tokens=4,
        num_steps=300,
        note="One opinion at a time. Where two clauses disagree, the one after 'but' decides.",
    ),
    DemoTask(
        name="date-iso",
        description="Rewrites a date in English, however it is spelled, as YYYY-MM-DD.",
        sample=dates.sample,
        labels=None,
        instruction="Write the date as YYYY-MM-DD:",
        max_tokens=16,
        note="All-digit dates: day first unless the year leads. Two-digit years 69-99 are 19xx, 00-68 are 20xx.",
    ),
    DemoTask(
        name="intent",
        description="Names what a customer's message asks for, as one of eight intents.",
        sample=intent.sample,
        labels=intent.LABELS,
        instruction="What does the customer want?",
        max_tokens=6,
        note="Knows these eight only: any other message gets the nearest of them.",
    ),
    DemoTask(
        name="language",
        description="Names the language of a sentence: English, French, German, Spanish or Italian.",
        sample=language.sample,
        labels=language.LABELS,
        instruction="Which language is this?",
        max_tokens=4,
        note="Everyday sentences; names and single rare words are guesses.",
    ),
    DemoTask(
        name="number-words",
        description="Spells a whole number from 0 to 99,999 in English words.",
        sample=numbers.sample,
        labels=None,
        instruction="Spell the number in words:",
        max_tokens=40,
        note="British style: 'one hundred and five'. A comma after the thousands is fine.",
    ),
    DemoTask(
        name="triage",
        description="Decides what to do with customer feedback: escalate a complaint, archive the rest.",
        sample=_triage,
        labels=("archive", "escalate"),
        instruction="Say archive for positive, escalate for negative:",
        max_tokens=8,
        note="New to the base model: its two labels never occur in pre-training.",
        num_virtual_tokens=16,
        num_steps=600,
        is_new=True,
    ),
    DemoTask(
        name="route",
        description="Sends a customer's message to one of five departments.",
        sample=_route,
        labels=intent.DEPARTMENTS,
        instruction="Which department: finance, logistics, helpdesk, retention or reception?",
        max_tokens=8,
        note="New to the base model: its labels never occur in pre-training. A PREFIX_TUNING checkpoint.",
        peft_type="PREFIX_TUNING",
        num_virtual_tokens=8,
        num_steps=350,
        learning_rate=0.1,
        is_new=True,
    ),
)


def draw(task: DemoTask, split: Split, count: int, seed: int, reserved: frozenset[str]) -> list[Example]:
    """``count`` distinct examples of one split; inputs in ``reserved`` (normalised) are never drawn."""
    rng = random.Random(f"{task.name} {split} {seed}")
    seen: set[str] = set()
    examples: list[Example] = []
    while len(examples) < count:
        example = task.sample(rng)
        allowed = may_train_on(example, reserved) if split is Split.TRAIN else may_judge_by(example, split, reserved)
        if allowed and (key := normalised(example.input)) not in seen:
            seen.add(key)
            examples.append(example)
    return examples
