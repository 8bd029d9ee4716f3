"""What is learnt from and what is judged by never share an input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import read_examples
from server.tuning.notes import warning
from server.tuning.split import MAX_HELD_OUT, Split, tuning_data
from tests.tuning.tiny import jsonl

INPUTS = st.lists(st.integers(0, 60), min_size=2).filter(lambda numbers: len(set(numbers)) > 1)


def completions(numbers):
    """A file in which an input may come several times, with other answers."""
    return read_examples(jsonl(*({"prompt": f"in {n}", "completion": f"out {i}"} for i, n in enumerate(numbers))))


def labelled(labels, start=0):
    return read_examples(jsonl(*({"text": f"in {start + i}", "label": label} for i, label in enumerate(labels))))


@given(INPUTS, st.integers(0, 2**31 - 1))
def test_a_split_is_disjoint_and_whole_and_follows_its_seed(numbers, seed):
    """Every example is on one side, in the file's order; a tenth of the inputs, one at least, is on the other."""
    examples = completions(numbers)
    data = tuning_data(examples, seed=seed)
    trained, judged = ({one.prompt for one in side} for side in (data.training, data.validation))
    assert not trained & judged
    assert sorted((*data.training, *data.validation), key=lambda one: one.line) == list(examples.examples)
    assert all(
        [one.line for one in side] == sorted(one.line for one in side) for side in (data.training, data.validation)
    )
    assert len(judged) == max(1, len(set(numbers)) // 10)
    assert tuning_data(examples, seed=seed) == data


def test_another_seed_holds_out_others():
    """The seed is all that draws."""
    examples = completions(range(100))
    assert len({tuning_data(examples, seed=seed).validation for seed in range(5)}) > 1


def test_at_most_200_examples_are_held_out():
    """More would only cost training data and time."""
    data = tuning_data(completions(range(3000)))
    assert len(data.validation) == MAX_HELD_OUT
    (note,) = data.notes
    assert note.text == "200 of 3000 examples are held out for validation"
    assert note.held_out_lines == tuple(one.line for one in data.validation)[:20]


def test_what_a_file_says_of_itself_is_kept():
    """Labels, digest and remarks."""
    examples = labelled("abab")
    data = tuning_data(examples)
    assert (data.labels, data.digest) == (("a", "b"), examples.digest)
    assert tuning_data(completions([1, 1, 2])).notes[0].text.startswith("1 lines give an earlier input another answer")


LABELS = st.lists(st.sampled_from("abcdef"), min_size=4, max_size=60).filter(lambda labels: len(set(labels)) > 1)


@given(LABELS, st.integers(0, 2**31 - 1))
def test_every_label_is_learnt_however_rare_it_is(labels, seed):
    """A split takes a tenth all the same, unless that were the last input of a label."""
    examples = labelled(labels)
    if len(set(labels)) == len(labels):
        with pytest.raises(ExamplesRefused, match="every label has a single input"):
            tuning_data(examples, seed=seed)
        return
    data = tuning_data(examples, seed=seed)
    assert {one.completion for one in data.training} == set(labels)
    num_free = len(labels) - len(set(labels))
    assert len(data.validation) == min(num_free, max(1, len(labels) // 10))
    assert tuning_data(examples, seed=seed) == data


def test_answers_of_few_words_are_labels_whatever_the_form():
    """Completions of which each comes twice in the mean; free texts are held out as they come."""
    rows = [{"prompt": f"in {n}", "completion": "rare" if n < 2 else "often"} for n in range(30)]
    for seed in range(300):
        data = tuning_data(read_examples(jsonl(*rows)), seed=seed)
        assert {one.completion for one in data.training} == {"rare", "often"}
    assert len(tuning_data(completions(range(40))).validation) == 4


def test_contradictions_are_learnt_by_all_their_answers():
    """An input of two labels is held out only if both stay."""
    rows = [{"text": "both", "label": "a"}, {"text": "both", "label": "b"}]
    rows += [{"text": f"in {n}", "label": "a"} for n in range(9)]
    for seed in range(50):
        data = tuning_data(read_examples(jsonl(*rows)), seed=seed)
        assert {one.completion for one in data.training} == {"a", "b"}


def test_a_split_without_rare_labels_is_the_one_of_before():
    """So the same file and seed give the same soft prompt as in earlier releases."""
    examples = labelled("ab" * 50)
    for seed in range(20):
        assert tuning_data(examples, seed=seed) == tuning_data(examples, seed=seed, split=Split.RANDOM)


def test_a_job_of_before_keeps_its_split():
    """By this seed all of the rare label is held out, as it was."""
    examples = labelled("ab" * 9 + "cc")
    splits = [tuning_data(examples, seed=seed, split=Split.RANDOM) for seed in range(2000)]
    assert any("c" not in {one.completion for one in data.training} for data in splits)


def test_labels_unjudged_or_alike_are_noted():
    """Each kind in a note of its own."""
    examples = read_examples(
        jsonl(*({"text": f"in {n}", "label": label} for n, label in enumerate(["Yes", "yes", "no"] * 4)))
    )
    notes = tuning_data(examples).notes
    assert warning("the labels 'Yes' and 'yes' differ by case or spaces alone") in notes
    assert any(note.text.startswith("2 labels have no validation example, ") for note in notes)
    judged_by = read_examples(jsonl({"text": "x", "label": "no"}, {"text": "y", "label": "yes"}))
    assert warning("1 labels have no validation example, 'Yes' among them") in tuning_data(examples, judged_by).notes


@pytest.mark.parametrize("numbers", [[1], [1, 1, 1]])
def test_one_input_cannot_be_on_both_sides(numbers):
    """A file with one input alone is refused."""
    with pytest.raises(ExamplesRefused) as caught:
        tuning_data(completions(numbers))
    assert caught.value.code == "too_few_examples"


@given(INPUTS, INPUTS)
def test_two_files_never_share_an_input(training, validation):
    """What both have is trained on and not judged by; how many that were is told."""
    try:
        data = tuning_data(completions(training), completions(validation))
    except ExamplesRefused as error:
        assert error.code == "leakage"
        assert set(validation) <= set(training)
        return
    assert data.training == completions(training).examples
    assert not {one.prompt for one in data.training} & {one.prompt for one in data.validation}
    num_leaked = sum(number in training for number in validation)
    assert len(data.validation) == len(validation) - num_leaked
    told = f"{num_leaked} validation examples have an input of the training file; they are left out"
    assert (warning(told) in data.notes) == (num_leaked > 0)


def test_a_label_that_is_never_trained_on_is_refused():
    """No run could learn it."""
    with pytest.raises(ExamplesRefused, match="1 labels of the validation file never occur in training, 'c'") as caught:
        tuning_data(labelled("ab"), labelled("abc", start=10))
    assert caught.value.code == "unknown_label"


def test_notes_name_their_file():
    """Where there are two files."""
    data = tuning_data(completions([1, 1]), completions([2, 2]))
    assert [note.text.partition(":")[0] for note in data.notes] == ["training file", "validation file"]


def conversations(*lines):
    """Each line is what was said, in turns of a user and an assistant."""
    roles = ("user", "assistant")
    return read_examples(
        jsonl(
            *(
                {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(line.split())]}
                for line in lines
            )
        )
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=4), st.integers(0, 2**31 - 1))
def test_no_conversation_is_on_both_sides(shapes, seed):
    """Nor an input: where conversations begin alike, their beginning is learnt and not judged by."""
    greetings = ("", "hello hi ")
    lines = [
        greetings[start > 0] + " ".join(f"q{start}.{n} a{n}" for n in range(num_answers))
        for start, num_answers in shapes
    ]
    try:
        data = tuning_data(conversations(*lines), seed=seed)
    except ExamplesRefused as error:
        assert error.code in ("too_few_examples", "leakage")
        return
    assert not {one.line for one in data.training} & {one.line for one in data.validation}
    assert not {one.prompt for one in data.training} & {one.prompt for one in data.validation}


def test_conversations_that_begin_alike_are_held_out_apart():
    """The shared beginning is told to be left out."""
    data = tuning_data(conversations(*(f"hello hi q{n} a{n}" for n in range(20))))
    assert [one.completion[0] for one in data.validation] == ["a", "a"]
    assert len(data.training) == 36
    counts, left_out = data.notes[-2:]
    assert counts.text == "2 of 40 examples are held out for validation"
    assert len(counts.held_out_lines) == 2
    assert left_out == warning("2 more are left out: conversations that are trained on begin as theirs do")
