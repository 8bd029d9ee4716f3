"""Files of inputs: plain lines and JSON lines, repeats, and what is refused."""

from __future__ import annotations

import pytest

from server.tuning.distillation.inputs import is_plain_text, read_inputs
from server.tuning.errors import ExamplesRefused
from tests.tuning.tiny import jsonl

LINES = "".join(f"input {number}\n" for number in range(12))


def refusal(content: bytes, *, is_text: bool = True, **options) -> str:
    with pytest.raises(ExamplesRefused) as refused:
        read_inputs(content, is_text=is_text, **options)
    return str(refused.value)


def test_each_line_is_an_input_as_it_stands():
    """Blank lines and repeats are left out; a note counts the repeats."""
    read = read_inputs(f"\ufeff a \r\n\n  \ninput 3\n{LINES}".encode(), is_text=True)
    assert [(one.prompt, one.completion, one.line) for one in read.examples[:3]] == [
        (" a ", "", 1), ("input 3", "", 4), ("input 0", "", 5),
    ]  # fmt: skip
    assert [note.text for note in read.notes] == ["1 lines repeat an earlier input and are left out (lines 8)"]


def test_objects_have_a_prompt_or_a_text():
    """Answers in the file are not used, which a note says."""
    rows = [{"text": f"input {number}", "label": "yes"} for number in range(9)]
    read = read_inputs(jsonl(*rows, {"prompt": "last"}), is_text=False)
    assert read.examples[-1].prompt == "last"
    assert "the teacher answers them; the file has also: label" in read.notes[0].text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file has no inputs: every line is empty"),
        (b"\n \n", "the file has no inputs: every line is empty"),
        (b"same\n" * 40, "the file has 1 different inputs, and a distillation needs 10"),
        (b"ok\n\xff\n", "line 2: is not UTF-8"),
    ],
)
def test_text_that_is_no_inputs_is_refused(content, sentence):
    """Empty files, files of equal lines, and other encodings."""
    assert refusal(content) == sentence


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"messages": []}, "line 1: has messages, and a distillation takes texts: send each as prompt or text"),
        ({"input": "a"}, "line 1: needs an input: one of prompt and text"),
        ({"prompt": "a", "text": "b"}, "line 1: needs an input: one of prompt and text"),
        ({"prompt": " "}, "line 1: has an empty prompt"),
        ({"prompt": "a", "system": "b"}, "line 1: has 'system' beside prompt, which is not supported: leave it out"),
        (["a"], "line 1: is not a JSON object"),
    ],
)
def test_an_object_without_one_input_is_refused(row, sentence):
    """Nothing that a line asks for is ignored."""
    assert refusal(jsonl(row), is_text=False) == sentence


def test_the_name_of_a_file_says_what_its_lines_are():
    """Plain text ends with .txt; everything else is JSON lines."""
    assert is_plain_text("Inputs.TXT")
    assert not is_plain_text("inputs.jsonl")
