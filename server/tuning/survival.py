"""Notes on answers that a tokenizer changes.

A tokenizer may drop the case of letters, accents, or spaces beside an added token, or write "-" with spaces around it.
The decoded answer then differs from the file's, and the model learns, and the server answers, the decoded one.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.tokenizer.errors import UnknownToken
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import encode_answer
from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import Example
from server.tuning.notes import Note, warning

_MAX_SHOWN = 80


def notes_on_answers(tokenizer: Tokenizer, examples: Sequence[Example], labels: Sequence[str]) -> tuple[Note, ...]:
    """Notes on answers that are decoded to another text, and on labels that are encoded to the same tokens.

    Raises `ExamplesRefused` for a token without a row in the embedding matrix.
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
    """The examples whose answers are decoded to another text, each with that text."""
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
