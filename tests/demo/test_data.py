"""The generators of the demo's training text: splits, conventions and what must never occur."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from demo.catalog import TASKS, DemoTask, draw
from demo.data.corpus import NEW_LABELS, lines
from demo.data.dates import sample as sample_date
from demo.data.example import Split, normalised, split_of
from demo.data.grammar import Grammar, Scope, parse_phrase
from demo.data.numbers import in_words
from demo.example_files import read_examples, reserved_inputs

HERE = Path(__file__).parent
RESERVED = reserved_inputs(HERE / "handwritten")


def test_labels_of_new_tasks_never_occur_in_pretraining() -> None:
    """What the new tasks answer is new to the base model: neither lines nor lexicons hold those words."""
    for line in itertools.islice(lines(5, RESERVED), 20_000):
        text = f"{line.prompt}{line.output}".lower()
        assert not any(stem in text for stem in NEW_LABELS)
    labels = [label for task in TASKS if task.is_new for label in task.labels or ()]
    assert labels
    assert all(any(stem in label for stem in NEW_LABELS) for label in labels)


def test_pretraining_never_sees_handwritten_inputs() -> None:
    """A hand-written input is in no line, whatever its case and punctuation."""
    long_ones = {text for text in RESERVED if len(text) > 20}
    for line in itertools.islice(lines(6, RESERVED), 5_000):
        text = normalised(line.prompt + line.output)
        assert not any(text.endswith(reserved) for reserved in long_ones)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_splits_are_disjoint(task: DemoTask) -> None:
    """No training input is a held-out one, and the committed held-out files are all from the test split."""
    heldout = {normalised(example.input) for example in read_examples(HERE / "heldout" / f"{task.name}.jsonl")}
    train = {normalised(example.input) for example in draw(task, Split.TRAIN, 2_000, 1, RESERVED)}
    assert len(heldout) == 200
    assert not heldout & train
    assert not heldout & RESERVED
    if task.name not in ("date-iso", "number-words"):  # their split goes by the value, not by the spelling
        assert all(split_of(text) is Split.TEST for text in heldout)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_heldout_files_are_what_the_build_draws(task: DemoTask) -> None:
    """The same seed draws the same examples."""
    drawn = draw(task, Split.TEST, 200, 1, RESERVED)
    committed = read_examples(HERE / "heldout" / f"{task.name}.jsonl")
    assert [(e.input, e.output) for e in drawn] == [(e.input, e.output) for e in committed]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_handwritten_outputs_are_labels(task: DemoTask) -> None:
    """Twenty hand-written examples a task, each with an output the task can give."""
    rows = [json.loads(line) for line in (HERE / "handwritten" / f"{task.name}.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    assert all(task.labels is None or row["output"] in task.labels for row in rows)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (21, "twenty-one"),
        (105, "one hundred and five"),
        (1066, "one thousand and sixty-six"),
        (2100, "two thousand one hundred"),
        (99_999, "ninety-nine thousand nine hundred and ninety-nine"),
    ],
)
def test_numbers_in_british_words(number: int, words: str) -> None:
    """The convention the task documents."""
    assert in_words(number) == words


def test_two_digit_years_follow_posix() -> None:
    """Every two-digit year stands for 1969 to 2068, and both centuries are drawn."""
    rng = random.Random(0)
    examples = [sample_date(rng) for _ in range(3_000)]
    years = [example.output[:4] for example in examples if example.output[:4] not in example.input]
    drawn = {int(year) for year in years if year != "0000"}
    assert len(drawn) > 50
    assert 1969 <= min(drawn) < 2000 <= max(drawn) <= 2068


def test_grammar_prefers_nothing_and_nests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoped and bare sections are both drawn from, opposite references look on the other side, choices nest."""
    (tmp_path / "g.txt").write_text("# a comment\n[adj]\nplain\n[pos.adj]\ngood\n[neg.adj]\nbad; poor\n[s]\n<adj>\n")
    monkeypatch.setattr("demo.data.grammar.LEXICONS", tmp_path)
    grammar, rng = Grammar("g.txt"), random.Random(1)
    scope = Scope(("pos",), ("neg",))
    assert {grammar.expand("s", rng, scope) for _ in range(50)} == {"plain", "good"}
    assert {grammar.fill("{a {b|c}|<!adj> }", rng, scope) for _ in range(99)} == {"a b", "a c", "bad", "poor", "plain"}
    with pytest.raises(KeyError):
        grammar.expand("missing", rng)
    with pytest.raises(ValueError, match="unclosed"):
        parse_phrase("{a|b")
