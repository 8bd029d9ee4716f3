"""Six labelled tasks: three of the demo base model, three of a real one (`make real-model`)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.catalog import TASKS, draw
from demo.data.example import Split
from server.demo import BASE_DIR
from server.tuning.example_line import Example
from server.tuning.examples import ExampleSet, read_examples
from tests.real_model.fetch import FLOAT32, LABELLED

NUM_TRAINING, NUM_TEST, NUM_SHOWN = 800, 1_000, 8

Row = dict[str, str]
"""`text` and `label`, as `softprompt tune` reads them."""


@dataclass(frozen=True, slots=True)
class LabelledTask:
    """A task with a closed set of labels. `instruction` is what someone without examples would write.

    `rows` gives the training and the test rows, the same at each call.
    """

    name: str
    base_model: Path
    instruction: str
    rows: Callable[[], tuple[Sequence[Row], Sequence[Row]]]

    def training(self) -> ExampleSet:
        """What a user would send: nothing but labelled texts."""
        return _example_set(self.rows()[0])

    def test(self, max_examples: int = NUM_TEST) -> tuple[Example, ...]:
        """Held-out examples, 1,000 where the data has them."""
        return _example_set(self.rows()[1][:max_examples]).examples

    def few_shot(self) -> str:
        """The instruction and eight training examples, labels in turn; text and label have a line each."""
        shown = _in_turn(self.rows()[0])[:NUM_SHOWN]
        return self.instruction + "\n\n" + "".join(f"{row['text']}\n{row['label']}\n\n" for row in shown)


def _of_demo(name: str, labels: dict[str, str] | None = None) -> Callable[[], tuple[list[Row], list[Row]]]:
    """Rows of a task of the demo's catalogue; with `labels`, under labels that the base model never saw."""

    def rows() -> tuple[list[Row], list[Row]]:
        task = next(one for one in TASKS if one.name == name)
        parts = ((Split.TRAIN, NUM_TRAINING), (Split.TEST, NUM_TEST))
        training, test = (
            [
                {"text": one.input, "label": one.output if labels is None else labels[one.output]}
                for one in draw(task, split, count, 1, frozenset())
            ]
            for split, count in parts
        )
        return training, test

    return rows


def _of_file(name: str) -> Callable[[], tuple[list[Row], list[Row]]]:
    def rows() -> tuple[list[Row], list[Row]]:
        lines = (LABELLED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        found: list[Row] = [json.loads(line) for line in lines]
        return found[:NUM_TRAINING], found[NUM_TRAINING:][:NUM_TEST]

    return rows


def _in_turn(rows: Sequence[Row]) -> list[Row]:
    """One row of each label, then a second of each, and so on: a prompt of few examples shows every label."""
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    turns = [list(found) for _, found in sorted(by_label.items())]
    random.Random(0).shuffle(turns)
    return [found[turn] for turn in range(max(map(len, turns))) for found in turns if turn < len(found)]


def _example_set(rows: Sequence[Row]) -> ExampleSet:
    return read_examples("".join(json.dumps(row) + "\n" for row in rows).encode())


ALL_TASKS = (
    LabelledTask(
        "urgency",
        BASE_DIR,
        "Say whisper for positive, shout for negative:",
        _of_demo("sentiment", {"positive": "whisper", "negative": "shout"}),
    ),
    LabelledTask("triage", BASE_DIR, "Say archive for positive, escalate for negative:", _of_demo("triage")),
    LabelledTask(
        "route",
        BASE_DIR,
        "Which department: finance, logistics, helpdesk, retention or reception?",
        _of_demo("route"),
    ),
    LabelledTask("reviews", FLOAT32, "Is the movie review negative or positive?", _of_file("reviews")),
    LabelledTask(
        "topics",
        FLOAT32,
        "What is the news about: earnings, acquisition, oil, trade, currency, interest, shipping or grain?",
        _of_file("topics"),
    ),
    LabelledTask("authors", FLOAT32, "Who wrote the tweet, Clinton or Trump?", _of_file("authors")),
)


def task_named(name: str) -> LabelledTask:
    """The task of this name. Raises KeyError."""
    return {task.name: task for task in ALL_TASKS}[name]
