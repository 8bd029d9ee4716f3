"""Split of the examples into those to train on and those to validate with."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import Example, ExampleInput
from server.tuning.examples import ExampleSet
from server.tuning.notes import Note, info, warning

MAX_HELD_OUT = 200
"""Maximum number of inputs to hold out; up to it, a tenth of the inputs."""
_MAX_NAMED_LINES = 20


class Split(StrEnum):
    """Rule to hold out inputs of one file: any of them, or only those whose answers all stay in training.

    A job keeps the rule that it was created with.
    """

    RANDOM = "random"
    EVERY_LABEL_TRAINED = "every_label_trained"


@dataclass(frozen=True, slots=True)
class TuningData:
    """Examples of a run. No input of `validation` is in `training`.

    `labels` are those of the training file, empty without labels. `digest` is that of the training file's bytes,
    `validation_digest` that of the validation file's bytes, None without such a file.
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
    """Join two files, or hold out a part of one by `seed` and `split`. `labels` are those of the request, if any.

    Validation examples whose input is trained on are left out, and a note counts them. Raises `ExamplesRefused` if none
    remains, or if a label of the validation is never trained on. Raises it also for fewer than two different inputs,
    and if every label has a single input.
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
    """Hold out all examples of the drawn inputs, so that no duplicate and no conversation is on both sides."""
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
    counts = info(f"{len(unseen)} of {len(training.examples)} examples are held out for validation")
    lines = tuple(dict.fromkeys(example.line for example in unseen))
    notes = [*training.notes, replace(counts, held_out_lines=lines[:_MAX_NAMED_LINES])]
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
    """Replace drawn inputs whose hold-out would leave a label untrained with other inputs, as far as there are any.

    `pairs` has every input with its answer. Answers count as labels if `are_labels`, or if each occurs at least twice
    on average. Otherwise the drawn inputs stay as they are.
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
    """Notes on labels without a validation example, and on labels that look alike."""
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
    """The examples whose input is not trained on."""
    inputs = {example.prompt for example in trained}
    return tuple(example for example in examples if example.prompt not in inputs)


def _named(name: str, examples: ExampleSet) -> list[Note]:
    return [replace(note, text=f"{name} file: {note.text}") for note in examples.notes]
