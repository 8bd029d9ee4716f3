"""Which examples are learnt from and which are only judged by."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import Example, ExampleInput, ExampleSet

MAX_HELD_OUT = 200
"""A split of our own holds out a tenth of the examples, but no more than these."""


class Split(StrEnum):
    """How a share of one file is held out: any inputs, or inputs whose answers all stay in training too.

    A job keeps the split that it was created with.
    """

    RANDOM = "random"
    EVERY_LABEL_TRAINED = "every_label_trained"


@dataclass(frozen=True, slots=True)
class TuningData:
    """What a run works with: no input of `validation` is one of `training`.

    `labels` are those of both files where they have labels. `digest` is that of the training file's bytes.
    """

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    labels: tuple[str, ...]
    digest: str
    notes: tuple[str, ...]


def tuning_data(
    training: ExampleSet,
    validation: ExampleSet | None = None,
    seed: int = 0,
    split: Split = Split.EVERY_LABEL_TRAINED,
    labels: Sequence[str] = (),
) -> TuningData:
    """Join two files, or hold out a share of the one by `seed` and `split`. `labels` are named by who tunes, if any.

    Validation examples whose input is trained on are left out and told in the notes. Raises `ExamplesRefused` where
    none remains (the two files are the same), where a label of the validation is never trained on, for fewer than two
    different inputs, and where every label has a single input.
    """
    if validation is None:
        return _held_out(training, seed, split, labels or training.labels)
    trained_on = {example.prompt for example in training.examples}
    kept = tuple(example for example in validation.examples if example.prompt not in trained_on)
    num_leaked = len(validation.examples) - len(kept)
    if not kept:
        raise ExamplesRefused("every validation input is in the training file too", code="leakage")
    notes = [*_named("training", training), *_named("validation", validation)]
    if num_leaked:
        notes.append(f"{num_leaked} validation examples have an input of the training file; they are left out")
    if unknown := set(validation.labels) - set(training.labels or validation.labels):
        message = (
            f"{len(unknown)} labels of the validation file never occur in training, {sorted(unknown)[0]!r} among them"
        )
        raise ExamplesRefused(message, code="unknown_label")
    notes += _of_labels(labels or training.labels, kept)
    return TuningData(training.examples, kept, training.labels, training.digest, tuple(notes))


def _held_out(training: ExampleSet, seed: int, split: Split, labels: Sequence[str]) -> TuningData:
    """Hold out by input, so that duplicates never straddle the two."""
    inputs = list(dict.fromkeys(example.prompt for example in training.examples))
    if len(inputs) < 2:
        raise ExamplesRefused(
            "there are fewer than two different inputs: none can be held out", code="too_few_examples"
        )
    num_held_out = min(MAX_HELD_OUT, max(1, len(inputs) // 10))
    held_out = set(random.Random(seed).sample(inputs, num_held_out))
    if split is Split.EVERY_LABEL_TRAINED:
        held_out = _but_last_ones(held_out, inputs, training.examples, are_labels=bool(labels), seed=seed)
    if not held_out:
        raise ExamplesRefused(
            "every label has a single input, which is to be learnt: give a validation file, or more examples",
            code="too_few_examples",
        )
    kept, aside = _partition(training.examples, held_out)
    notes = [*training.notes, f"{len(aside)} of {len(training.examples)} examples are held out for validation"]
    if split is Split.EVERY_LABEL_TRAINED:
        notes += _of_labels(labels, aside)
    return TuningData(kept, aside, training.labels, training.digest, tuple(notes))


def _but_last_ones(
    drawn: set[ExampleInput],
    inputs: Sequence[ExampleInput],
    examples: Sequence[Example],
    *,
    are_labels: bool,
    seed: int,
) -> set[ExampleInput]:
    """As many inputs as were drawn, where there are: the drawn ones but for a label's last one, then others.

    Answers are labels where they are called so, or are so few that each comes twice in the mean; else nothing changes.
    """
    num_left = Counter(answer for _, answer in {(example.prompt, example.completion) for example in examples})
    if not are_labels and 2 * len(num_left) > len(inputs):
        return drawn
    held_out: set[ExampleInput] = set()

    def take(candidates: Sequence[ExampleInput]) -> None:
        answers = _answers_to(set(candidates), examples)
        for one in candidates:
            if len(held_out) < len(drawn) and all(num_left[answer] > 1 for answer in answers[one]):
                held_out.add(one)
                num_left.subtract(answers[one])

    take([one for one in inputs if one in drawn])
    if len(held_out) < len(drawn):
        others = [one for one in inputs if one not in drawn]
        take(random.Random(seed).sample(others, len(others)))
    return held_out


def _answers_to(inputs: set[ExampleInput], examples: Sequence[Example]) -> Mapping[ExampleInput, set[str]]:
    answers: defaultdict[ExampleInput, set[str]] = defaultdict(set)
    for example in examples:
        if example.prompt in inputs:
            answers[example.prompt].add(example.completion)
    return answers


def _of_labels(labels: Sequence[str], judged_by: Sequence[Example]) -> list[str]:
    """What a person should know of the labels: some are never judged, some look alike."""
    notes = []
    judged = {example.completion for example in judged_by}
    if unjudged := [label for label in labels if label not in judged]:
        notes.append(f"{len(unjudged)} labels have no validation example, {unjudged[0]!r} among them")
    first: dict[str, str] = {}
    for label in labels:
        twin = first.setdefault(" ".join(label.split()).casefold(), label)
        if twin != label:
            notes.append(f"the labels {twin!r} and {label!r} differ by case or spaces alone")
            break
    return notes


def _partition(
    examples: Sequence[Example], held_out: set[ExampleInput]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    return (
        tuple(example for example in examples if example.prompt not in held_out),
        tuple(example for example in examples if example.prompt in held_out),
    )


def _named(name: str, examples: ExampleSet) -> list[str]:
    return [f"{name} file: {note}" for note in examples.notes]
