"""What is run: the base alone, a sweep of short runs with one seed, the default and its rival, and other methods.

The sweep has a quarter of the default's steps and one seed. It picks on validation; its best setting is then run at
full length with every seed, beside the default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from benchmarks.tuning.tasks import ALL_TASKS
from server.tuning.plan import Initialisation, Method

SEEDS = (0, 1, 2)
NUM_SWEEP_STEPS = 100
NUM_TOKENS = (1, 4, 8, 32, 64)
NUM_TOKENS_TASK = "reviews"


class Kind(StrEnum):
    """How the base is made to do a task."""

    ZERO_SHOT = "zero-shot"
    FEW_SHOT = "few-shot"
    SOFT_PROMPT = "soft prompt"
    LORA = "LoRA"
    FULL = "all weights"


@dataclass(frozen=True, slots=True)
class Setting:
    """One run. None is the default of `softprompt tune` with nothing but a JSONL.

    `has_instruction` starts from the task's instruction (TEXT). `is_short` runs `NUM_SWEEP_STEPS` steps and is judged
    on validation alone.
    """

    kind: Kind
    task: str
    seed: int = 0
    method: Method | None = None
    initialisation: Initialisation | None = None
    rate_multiplier: float | None = None
    batch_size: int | None = None
    num_virtual_tokens: int | None = None
    is_short: bool = False

    @property
    def key(self) -> str:
        """Its name in the file of results: JSON of what differs from a default, so that new fields keep old names."""
        return json.dumps(
            {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}
        )

    @property
    def choices(self) -> str:
        """What it chooses otherwise than by default, for a table."""
        start = "its instruction" if self.initialisation is Initialisation.TEXT else self.initialisation
        words = (
            self.method and f"{self.method}",
            start and f"from {start}",
            self.rate_multiplier and f"rate x {self.rate_multiplier:g}",
            self.batch_size and f"batch {self.batch_size}",
            self.num_virtual_tokens and f"{self.num_virtual_tokens} tokens",
        )
        return ", ".join(word for word in words if word) or "default"


def setting_of(key: str) -> Setting:
    """The setting of a key."""
    given = json.loads(key)
    for name, kind in (("kind", Kind), ("method", Method), ("initialisation", Initialisation)):
        if name in given:
            given[name] = kind(given[name])
    return Setting(**given)


def baselines() -> Iterator[Setting]:
    """The base alone with an instruction, and with eight examples."""
    for task in ALL_TASKS:
        yield Setting(Kind.ZERO_SHOT, task.name)
        yield Setting(Kind.FEW_SHOT, task.name)


def sweep(task: str) -> tuple[Setting, ...]:
    """Short runs around the default; the first is the default itself."""
    short = Setting(Kind.SOFT_PROMPT, task, is_short=True)
    prefix = replace(short, method=Method.PREFIX_TUNING)
    text = Initialisation.TEXT
    return (
        short,
        *(replace(short, rate_multiplier=factor) for factor in (0.3, 3.0)),
        replace(short, initialisation=text),
        replace(short, initialisation=text, rate_multiplier=3.0),
        replace(short, initialisation=Initialisation.LABELS),
        *(replace(prefix, rate_multiplier=factor) for factor in (None, 3.0, 10.0)),
        *(replace(prefix, initialisation=text, rate_multiplier=factor) for factor in (None, 3.0)),
        replace(short, method=Method.P_TUNING),
        replace(short, batch_size=32),
    )


def best_of_sweep(task: str, results: Mapping[str, Mapping[str, Any]]) -> Setting | None:
    """The setting with the best validation, by label and then by perplexity; None until the sweep is complete."""
    settings = sweep(task)
    if any(one.key not in results for one in settings):
        return None

    def rank(setting: Setting) -> tuple[float, float]:
        found = results[setting.key]
        return found["validation"], -found["validation_perplexity"]

    return replace(max(settings, key=rank), is_short=False)


def all_settings(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Setting]:
    """Every run whose setting is known by now, cheap and telling ones first."""
    yield from baselines()
    names = [task.name for task in ALL_TASKS]
    for seed in SEEDS:
        yield from (Setting(Kind.SOFT_PROMPT, name, seed) for name in names)
    for name in names:
        yield from sweep(name)
    for seed in SEEDS:
        for name in names:
            best = best_of_sweep(name, results)
            if best is not None:
                yield replace(best, seed=seed)
    for seed in SEEDS:
        for name in names:
            yield Setting(Kind.SOFT_PROMPT, name, seed, Method.P_TUNING)
            yield Setting(Kind.SOFT_PROMPT, name, seed, Method.PREFIX_TUNING)
            yield Setting(Kind.LORA, name, seed)
            yield Setting(Kind.FULL, name, seed)
    yield from (Setting(Kind.SOFT_PROMPT, NUM_TOKENS_TASK, num_virtual_tokens=count) for count in NUM_TOKENS)
