"""Whether answers survive their tokens: what is said of those that do not.

A tokenizer may make two texts one: it drops the case of letters, accents, spaces beside an added token, or writes "-"
with spaces around it. The model then learns, and the server answers, another text than the file has.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.tokenizer.errors import UnknownToken
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import encode_answer
from server.tuning.errors import ExamplesRefused
from server.tuning.examples import Example
from server.tuning.notes import Note, warning

_MAX_SHOWN = 80


def notes_on_answers(tokenizer: Tokenizer, examples: Sequence[Example], labels: Sequence[str]) -> tuple[Note, ...]:
    """Remarks for a person: answers that come back as another text, and labels that become the same tokens.

    Raises `ExamplesRefused` for tokens that the base model has no row for.
    """
    notes = []
    changed = _changed(tokenizer, examples)
    if changed:
        first, found = changed[0]
        notes.append(
            warning(
                f"{len(changed)} answers do not survive this tokenizer, so that none of them can match to the letter: "
                f"line {first.line} has {_shown(first.completion)}, and {_shown(found)} is what is learnt and answered"
            )
        )
    one_of: dict[tuple[int, ...], str] = {}
    for label in labels:
        other = one_of.setdefault(_label_ids(tokenizer, label), label)
        if other != label:
            same = f"the labels {_shown(other)} and {_shown(label)} are the same tokens"
            notes.append(warning(f"{same}: nothing can tell them apart"))
    return tuple(notes)


def _changed(tokenizer: Tokenizer, examples: Sequence[Example]) -> list[tuple[Example, str]]:
    """The examples whose answers come back otherwise, each with what comes back."""
    found: dict[str, str] = {}
    changed = []
    for example in examples:
        answer = example.completion
        if answer not in found:
            *ids, _ = encode_answer(tokenizer, example, end_token_id=0)
            found[answer] = tokenizer.decode(ids)
        if found[answer] != answer:
            changed.append((example, found[answer]))
    return changed


def _label_ids(tokenizer: Tokenizer, label: str) -> tuple[int, ...]:
    try:
        return tokenizer.encode(label, add_special_tokens=False)
    except UnknownToken as error:
        raise ExamplesRefused(f"the label {_shown(label)}: {error}", code="token_out_of_range") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")
