"""What is learnt from and what is judged by never share an input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tuning.errors import ExamplesRefused
from server.tuning.examples import read_examples
from server.tuning.split import MAX_HELD_OUT, tuning_data
from tests.tuning.tiny import jsonl

INPUTS = st.lists(st.integers(0, 60), min_size=2).filter(lambda numbers: len(set(numbers)) > 1)


def completions(numbers):
    """A file in which an input may come several times, with other answers."""
    return read_examples(jsonl(*({"prompt": f"in {n}", "completion": f"out {i}"} for i, n in enumerate(numbers))))


def labelled(labels, start=0):
    return read_examples(jsonl(*({"text": f"in {start + i}", "label": label} for i, label in enumerate(labels))))


@given(INPUTS, st.integers(0, 2**31 - 1))
def test_a_split_of_one_file_is_disjoint_whole_and_decided_by_its_seed(numbers, seed):
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
    examples = completions(range(100))
    assert len({tuning_data(examples, seed=seed).validation for seed in range(5)}) > 1


def test_no_more_is_held_out_than_is_worth_judging():
    data = tuning_data(completions(range(3000)))
    assert len(data.validation) == MAX_HELD_OUT
    assert data.notes == ("200 of 3000 examples are held out for validation",)


def test_what_a_file_says_of_itself_is_kept():
    """Labels, digest and remarks."""
    examples = labelled("abab")
    data = tuning_data(examples)
    assert (data.labels, data.digest) == (("a", "b"), examples.digest)
    assert tuning_data(completions([1, 1, 2])).notes[0].startswith("1 lines give an earlier input another answer")


@pytest.mark.parametrize("numbers", [[1], [1, 1, 1]])
def test_one_input_cannot_be_on_both_sides(numbers):
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
    assert (told in data.notes) == (num_leaked > 0)


def test_a_label_that_is_never_trained_on_is_refused():
    with pytest.raises(ExamplesRefused, match="1 labels of the validation file never occur in training, 'c'") as caught:
        tuning_data(labelled("ab"), labelled("abc", start=10))
    assert caught.value.code == "unknown_label"


def test_remarks_name_the_file_they_are_about():
    data = tuning_data(completions([1, 1]), completions([2, 2]))
    assert [note.partition(":")[0] for note in data.notes] == ["training file", "validation file"]


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


def test_conversations_that_begin_alike_are_held_out_by_what_comes_after():
    """The shared beginning is told to be left out."""
    data = tuning_data(conversations(*(f"hello hi q{n} a{n}" for n in range(20))))
    assert [one.completion[0] for one in data.validation] == ["a", "a"]
    assert len(data.training) == 36
    assert data.notes[-2:] == (
        "2 of 40 examples are held out for validation",
        "2 more are left out: conversations that are trained on begin as theirs do",
    )
