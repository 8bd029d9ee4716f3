"""Which examples are learnt from and which are only judged by."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import Example, ExampleInput, ExampleSet

MAX_HELD_OUT = 200
"""A split of our own holds out a tenth of the examples, but no more than these."""


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


def tuning_data(training: ExampleSet, validation: ExampleSet | None = None, seed: int = 0) -> TuningData:
    """Join two files, or hold out a share of the one by `seed`.

    Validation examples whose input is trained on are left out and told in the notes. Raises `ExamplesRefused` where
    none remains (the two files are the same), where a label of the validation is never trained on, and for fewer than
    two different inputs.
    """
    if validation is None:
        return _held_out(training, seed)
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
    return TuningData(training.examples, kept, training.labels, training.digest, tuple(notes))


def _held_out(training: ExampleSet, seed: int) -> TuningData:
    """Hold out by input, so that duplicates never straddle the two."""
    inputs = list(dict.fromkeys(example.prompt for example in training.examples))
    if len(inputs) < 2:
        raise ExamplesRefused(
            "there are fewer than two different inputs: none can be held out", code="too_few_examples"
        )
    num_held_out = min(MAX_HELD_OUT, max(1, len(inputs) // 10))
    held_out = set(random.Random(seed).sample(inputs, num_held_out))
    kept, aside = _partition(training.examples, held_out)
    notes = (*training.notes, f"{len(aside)} of {len(training.examples)} examples are held out for validation")
    return TuningData(kept, aside, training.labels, training.digest, notes)


def _partition(
    examples: Sequence[Example], held_out: set[ExampleInput]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    return (
        tuple(example for example in examples if example.prompt not in held_out),
        tuple(example for example in examples if example.prompt in held_out),
    )


def _named(name: str, examples: ExampleSet) -> list[str]:
    return [f"{name} file: {note}" for note in examples.notes]
