"""Which examples are learnt from and which are only judged by."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import Example, ExampleSet

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
    kept = _without(validation.examples, training.examples)
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
    """Hold out by the whole input of a line, so that neither duplicates nor conversations straddle the two."""
    whole = {example.line: example.prompt for example in training.examples}  # of a conversation, the last answer's
    inputs = list(dict.fromkeys(whole.values()))
    if len(inputs) < 2:
        raise ExamplesRefused(
            "there are fewer than two different inputs: none can be held out", code="too_few_examples"
        )
    num_held_out = min(MAX_HELD_OUT, max(1, len(inputs) // 10))
    held_out = set(random.Random(seed).sample(inputs, num_held_out))
    kept = tuple(example for example in training.examples if whole[example.line] not in held_out)
    aside = tuple(example for example in training.examples if whole[example.line] in held_out)
    unseen = _without(aside, kept)
    if not unseen:
        raise ExamplesRefused(
            "every input that is held out is trained on in another conversation too: give a validation file",
            code="leakage",
        )
    notes = [*training.notes, f"{len(unseen)} of {len(training.examples)} examples are held out for validation"]
    if num_seen := len(aside) - len(unseen):
        notes.append(f"{num_seen} more are left out: conversations that are trained on begin as theirs do")
    return TuningData(kept, unseen, training.labels, training.digest, tuple(notes))


def _without(examples: Sequence[Example], trained: Sequence[Example]) -> tuple[Example, ...]:
    """The examples whose input is none that is trained on."""
    inputs = {example.prompt for example in trained}
    return tuple(example for example in examples if example.prompt not in inputs)


def _named(name: str, examples: ExampleSet) -> list[str]:
    return [f"{name} file: {note}" for note in examples.notes]
