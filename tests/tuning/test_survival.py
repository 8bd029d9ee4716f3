"""What is said of answers that a tokenizer makes into other texts."""

from __future__ import annotations

import pytest

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import read_examples
from server.tuning.notes import warning
from server.tuning.survival import notes_on_answers
from tests.fakes.tokenizers import FAMILIES, byte_level, sentencepiece
from tests.tuning.tiny import jsonl


def notes(tokenizer, *completions, labels=()):
    rows = [{"prompt": f"{number}", "completion": completion} for number, completion in enumerate(completions)]
    return notes_on_answers(tokenizer, read_examples(jsonl(*rows)).examples, labels)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_said_of_answers_that_survive(family):
    """Most answers are the same text after encoding and decoding, and get no note."""
    assert notes(FAMILIES[family], "positive", "negative", labels=("positive", "negative")) == ()


@pytest.mark.parametrize(
    ("tokenizer", "written", "comes_back"),
    [
        (FAMILIES["wordpiece"], "Positive", "positive"),
        (FAMILIES["wordpiece"], "well-known", "well - known"),
        (FAMILIES["wordpiece"], "你好", ""),
        (FAMILIES["metaspace_always"], " positive", "positive"),
        (FAMILIES["byte_level_with_prefix_space"], " yes", "yes"),
        (sentencepiece(), "yes</s>", "yes"),
        (byte_level(), "yes<end>", "yes"),
    ],
)
def test_the_first_changed_answer_is_noted_with_both_texts(tokenizer, written, comes_back):
    """Case, spaces around signs, unknown words, leading spaces, an end token written out."""
    (note,) = notes(tokenizer, "yes", written, written)
    assert note.text.startswith("2 answers do not survive this tokenizer")
    assert f"line 2 has {written!r}, and {comes_back!r} is what is learnt" in note.text


def test_a_long_answer_is_cut_in_the_note():
    """A note stays readable, however long the answer."""
    (note,) = notes(FAMILIES["wordpiece"], "Positive " * 1_000)
    assert len(note.text) < 500


def test_labels_of_the_same_tokens_are_told():
    """Nothing could tell them apart; a label named twice is not meant."""
    (note,) = notes(FAMILIES["wordpiece"], "yes", labels=("yes", "no", "Yes"))
    assert note == warning("the labels 'yes' and 'Yes' are the same tokens: nothing can tell them apart")


def test_a_label_without_a_row_is_refused():
    """The error names the label, since no line is at fault."""
    with pytest.raises(ExamplesRefused, match=r"the label '\[PAD\]'"):
        notes(sentencepiece(lacks_rows=True), "yes", labels=("yes", "[PAD]"))
