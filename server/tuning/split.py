"""Which examples are learnt from and which are only judged by."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import Example, ExampleInput, ExampleSet
from server.tuning.notes import Note, info, warning

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

    `labels` are those of both files where they have labels. `digest` is that of the training file's bytes,
    `validation_digest` that of the other file's, if there is one.
    """

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    labels: tuple[str, ...]
    digest: str
    notes: tuple[Note, ...]
    validation_digest: str | None = None


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
    kept = _without(validation.examples, training.examples)
    num_leaked = len(validation.examples) - len(kept)
    if not kept:
        raise ExamplesRefused("every validation input is in the training file too", code="leakage")
    notes = [*_named("training", training), *_named("validation", validation)]
    if num_leaked:
        notes.append(warning(f"{num_leaked} validation examples have an input of the training file; they are left out"))
    if unknown := set(validation.labels) - set(training.labels or validation.labels):
        message = (
            f"{len(unknown)} labels of the validation file never occur in training, {sorted(unknown)[0]!r} among them"
        )
        raise ExamplesRefused(message, code="unknown_label")
    notes += _of_labels(labels or training.labels, kept)
    return TuningData(training.examples, kept, training.labels, training.digest, tuple(notes), validation.digest)


def _held_out(training: ExampleSet, seed: int, split: Split, labels: Sequence[str]) -> TuningData:
    """Hold out by the whole input of a line, so that neither duplicates nor conversations straddle the two."""
    whole = {example.line: example.prompt for example in training.examples}  # of a conversation, the last answer's
    inputs = list(dict.fromkeys(whole.values()))
    if len(inputs) < 2:
        raise ExamplesRefused(
            "there are fewer than two different inputs: none can be held out", code="too_few_examples"
        )
    num_held_out = min(MAX_HELD_OUT, max(1, len(inputs) // 10))
    held_out = set(random.Random(seed).sample(inputs, num_held_out))
    if split is Split.EVERY_LABEL_TRAINED:
        pairs = [(whole[example.line], example.completion) for example in training.examples]
        held_out = _but_last_ones(held_out, inputs, pairs, are_labels=bool(labels), seed=seed)
    if not held_out:
        raise ExamplesRefused(
            "every label has a single input, which is to be learnt: give a validation file, or more examples",
            code="too_few_examples",
        )
    kept = tuple(example for example in training.examples if whole[example.line] not in held_out)
    aside = tuple(example for example in training.examples if whole[example.line] in held_out)
    unseen = _without(aside, kept)
    if not unseen:
        raise ExamplesRefused(
            "every input that is held out is trained on in another conversation too: give a validation file",
            code="leakage",
        )
    held_out_note = info(f"{len(unseen)} of {len(training.examples)} examples are held out for validation")
    notes = [*training.notes, held_out_note]
    if num_seen := len(aside) - len(unseen):
        notes.append(warning(f"{num_seen} more are left out: conversations that are trained on begin as theirs do"))
    if split is Split.EVERY_LABEL_TRAINED:
        notes += _of_labels(labels, unseen)
    return TuningData(kept, unseen, training.labels, training.digest, tuple(notes))


def _but_last_ones(
    drawn: set[ExampleInput],
    inputs: Sequence[ExampleInput],
    pairs: Sequence[tuple[ExampleInput, str]],
    *,
    are_labels: bool,
    seed: int,
) -> set[ExampleInput]:
    """As many inputs as were drawn, where there are: the drawn ones but for a label's last one, then others.

    `pairs` are every input with its answer. Answers are labels where they are called so, or are so few that each comes
    twice in the mean; else nothing changes.
    """
    num_left = Counter(answer for _, answer in set(pairs))
    if not are_labels and 2 * len(num_left) > len(inputs):
        return drawn
    held_out: set[ExampleInput] = set()

    def take(candidates: Sequence[ExampleInput]) -> None:
        answers = _answers_to(set(candidates), pairs)
        for one in candidates:
            if len(held_out) < len(drawn) and all(num_left[answer] > 1 for answer in answers[one]):
                held_out.add(one)
                num_left.subtract(answers[one])

    take([one for one in inputs if one in drawn])
    if len(held_out) < len(drawn):
        others = [one for one in inputs if one not in drawn]
        take(random.Random(seed).sample(others, len(others)))
    return held_out


def _answers_to(
    inputs: set[ExampleInput], pairs: Sequence[tuple[ExampleInput, str]]
) -> Mapping[ExampleInput, set[str]]:
    answers: defaultdict[ExampleInput, set[str]] = defaultdict(set)
    for one, answer in pairs:
        if one in inputs:
            answers[one].add(answer)
    return answers


def _of_labels(labels: Sequence[str], judged_by: Sequence[Example]) -> list[Note]:
    """What a person should know of the labels: some are never judged, some look alike."""
    notes: list[Note] = []
    judged = {example.completion for example in judged_by}
    if unjudged := [label for label in labels if label not in judged]:
        notes.append(warning(f"{len(unjudged)} labels have no validation example, {unjudged[0]!r} among them"))
    first: dict[str, str] = {}
    for label in labels:
        twin = first.setdefault(" ".join(label.split()).casefold(), label)
        if twin != label:
            notes.append(warning(f"the labels {twin!r} and {label!r} differ by case or spaces alone"))
            break
    return notes


def _without(examples: Sequence[Example], trained: Sequence[Example]) -> tuple[Example, ...]:
    """The examples whose input is none that is trained on."""
    inputs = {example.prompt for example in trained}
    return tuple(example for example in examples if example.prompt not in inputs)


def _named(name: str, examples: ExampleSet) -> list[Note]:
    return [replace(note, text=f"{name} file: {note.text}") for note in examples.notes]
