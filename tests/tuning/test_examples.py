"""Files of examples: three forms, and an error that names the line for everything else."""

from __future__ import annotations

import hashlib
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import Example, ExampleForm
from server.tuning.examples import ExampleLimits, read_examples
from server.tuning.notes import info, warning
from tests.tuning.tiny import jsonl

GOOD = {"prompt": "a", "completion": "b"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["prompt", "completion", "text", "role"]), inner),
    max_leaves=5,
)
LINES = (
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(["prompt", "completion", "text", "label", "messages"]), JSON).map(jsonl)
    | st.builds(lambda prompt, completion: jsonl({"prompt": prompt, "completion": completion}), TEXTS, TEXTS)
)
FILES = st.lists(LINES, max_size=4).map(b"\n".join)


def outcome(chunks):
    """What reading gives: a set of examples, or an error's code, line and text."""
    try:
        return read_examples(chunks)
    except ExamplesRefused as error:
        return error.code, error.line, str(error)


def test_a_prompt_and_its_completion():
    """The form of one input and one answer."""
    found = read_examples(jsonl({"prompt": " a ", "completion": "b"}))
    assert (found.form, found.examples, found.labels) == (ExampleForm.COMPLETION, (Example(" a ", "b", 1),), ())


def test_a_text_and_its_label():
    """Labels come in order of first appearance."""
    found = read_examples(jsonl(*({"text": str(n), "label": label} for n, label in enumerate("zaza"))))
    assert (found.form, found.labels) == (ExampleForm.LABEL, ("z", "a"))


@settings(max_examples=30)
@given(FILES)
def test_whatever_is_in_a_file_only_our_own_error_comes_out(content):
    """And it names a line of the file, unless it is about the file as a whole."""
    found = outcome(content)
    if isinstance(found, tuple):
        code, line, text = found
        assert (line is None) == (code in ("empty_file", "single_class"))
        if line is not None:
            assert 1 <= line <= content.count(b"\n") + 1
            assert text.startswith(f"line {line}: ")


@settings(max_examples=30)
@given(FILES, st.lists(st.integers(0, 1000)))
def test_the_pieces_that_a_file_comes_in_make_no_difference(content, cuts):
    """Examples, digest and errors are the same."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    pieces = [content[start:end] for start, end in itertools.pairwise(edges)]
    assert outcome(pieces) == outcome(content)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1), st.integers(0, 3))
def test_what_was_written_is_read(rows, num_blank):
    """Each row to the letter, with its line; blank lines count and hold nothing."""
    lines = [json.dumps({"prompt": prompt, "completion": completion}).encode() for prompt, completion in rows]
    content = (b"\n" * (num_blank + 1)).join(lines)
    found = read_examples(content)
    assert [(one.prompt, one.completion) for one in found.examples] == rows
    assert [one.line for one in found.examples] == [1 + index * (num_blank + 1) for index in range(len(rows))]
    assert found.digest == hashlib.sha256(content).hexdigest()


@given(st.integers(0, 20), st.sampled_from([b"{", b"[]", b'{"prompt": "a"}', b"\xff", b'{"text": "a", "label": "b"}']))
def test_the_first_bad_line_is_named_wherever_it_is(num_good, bad):
    """The good ones before it do not hide it."""
    with pytest.raises(ExamplesRefused) as caught:
        read_examples(jsonl(*[GOOD] * (num_good + 1)) + b"\n" + bad + b"\n{")
    assert caught.value.line == num_good + 2


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (b"\xff", "not_utf8", "is not UTF-8"),
        (b"{", "bad_line", "is not JSON"),
        (b"[" * 100_000, "bad_line", "is not JSON"),
        (b"1" * 5000, "bad_line", "is not JSON"),
        (b"3", "bad_line", "is not a JSON object"),
        (b'{"prompt": "a"}', "bad_line", "has a prompt but no completion"),
        (b'{"text": "a"}', "bad_line", "has a text but no label"),
        (b'{"Prompt": "a", "id": 1}', "bad_line", "has the keys Prompt, id, but not prompt and completion, nor text"),
        (b'{"prompt": "a", "id": 1}', "bad_line", "has the keys prompt, id, but not"),
        (b'{"a b\\n": 1}', "bad_line", "has the keys …, but not"),
        (b"{}", "bad_line", "has no keys, but not"),
        (b'{"prompt": "a", "completion": "b", "label": false}', "bad_line", "one form (prompt, completion, label)"),
        (b'{"text": "a", "label": "b", "messages": []}', "bad_line", "one form (text, label, messages)"),
        (b'{"prompt": "a", "completion": "b", "system": "c"}', "bad_line", "'system' beside prompt and completion"),
        (b'{"prompt": "a", "completion": "b", "weight": 0}', "bad_line", "'weight' beside prompt and completion"),
        (b'{"prompt": null, "completion": "b"}', "bad_line", "has a prompt that is not a text"),
        (b'{"text": "a", "label": true}', "bad_line", "has a label that is not a text"),
        (b'{"text": "a", "label": 1.0}', "bad_line", "has a label that is not a text"),
        (b'{"text": "a", "label": null, "prompt": null}', "bad_line", "has a label that is not a text"),
        (b'{"prompt": 1, "completion": "b"}', "bad_line", "has a prompt that is not a text"),
        (b'{"prompt": "a", "completion": " "}', "bad_line", "has an empty completion"),
        (rb'{"prompt": "\ud800", "completion": "b"}', "bad_line", "has half of a surrogate pair in its prompt"),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "bad_line", "has messages that are not a list of two"),
        (b'{"messages": ["a", "b"]}', "bad_line", "has a message that is not a JSON object"),
        (b'{"messages": [{}, {}]}', "bad_line", "has a message without role or content"),
        (jsonl({"messages": [{"role": "user", "content": "a"}] * 2}), "bad_line", "has no answer"),
        (b'{"prompt": "a", "prompt": "b", "completion": "c"}', "bad_line", "has a key twice"),
    ],
)
def test_each_kind_of_bad_line_is_told(line, code, said):
    """In words for who wrote the file."""
    with pytest.raises(ExamplesRefused) as caught:
        read_examples(line)
    assert (caught.value.code, caught.value.line) == (code, 1)
    assert said in str(caught.value)


def test_two_forms_in_one_file_are_refused():
    """The error names the line, and both forms."""
    with pytest.raises(ExamplesRefused, match="line 2: is in the label form, but the lines before") as caught:
        read_examples(jsonl(GOOD, {"text": "a", "label": "b"}))
    assert caught.value.code == "mixed_forms"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_of_nothing_is_refused(content):
    """Also one of blank lines."""
    with pytest.raises(ExamplesRefused) as caught:
        read_examples(content)
    assert (caught.value.code, caught.value.line) == ("empty_file", None)


def test_one_label_alone_is_nothing_to_learn():
    """A classifier needs two labels."""
    with pytest.raises(ExamplesRefused) as caught:
        read_examples(jsonl({"text": "a", "label": "x"}, {"text": "b", "label": "x"}))
    assert caught.value.code == "single_class"


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    """Some editors write one."""
    assert read_examples(b"\xef\xbb\xbf" + jsonl(GOOD)).examples == (Example("a", "b", 1),)


@pytest.mark.parametrize(
    ("limits", "code", "line"),
    [
        (ExampleLimits(max_bytes=100), "file_too_large", None),
        (ExampleLimits(max_examples=3), "too_many_examples", 4),
        (ExampleLimits(max_line_bytes=20), "bad_line", 1),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 7, 10_000])
def test_limits_hold_in_whatever_pieces(limits, code, line, piece_bytes):
    """Bytes of a file, its examples, bytes of a line."""
    content = jsonl(*[GOOD] * 10)
    pieces = [content[start : start + piece_bytes] for start in range(0, len(content), piece_bytes)]
    with pytest.raises(ExamplesRefused) as caught:
        read_examples(pieces, limits)
    assert (caught.value.code, caught.value.line) == (code, line)


def test_a_line_that_never_ends_is_refused_before_it_is_kept():
    """A gigabyte of it is promised; not much more than the limit is taken."""
    taken = 0

    def endless():
        nonlocal taken
        while taken < 1 << 30:
            taken += 1 << 16
            yield b"a" * (1 << 16)

    with pytest.raises(ExamplesRefused, match="line 1: has more than"):
        read_examples(endless())
    assert taken <= ExampleLimits().max_line_bytes + (1 << 16)


def test_duplicates_and_contradictions_are_told():
    """With the first five lines of each; they are no error."""
    found = read_examples(jsonl(GOOD, *[GOOD] * 6, {"prompt": "a", "completion": "c"}))
    assert found.notes == (
        warning("6 lines repeat an earlier example (lines 2, 3, 4, 5, 6, …)"),
        warning("1 lines give an earlier input another answer (lines 8)"),
    )


def test_whole_numbers_are_labels():
    """As data sets number their classes; each is its decimal text."""
    found = read_examples(jsonl({"text": "a", "label": 1}, {"text": "b", "label": -20}, {"text": "c", "label": "1"}))
    assert [one.completion for one in found.examples] == ["1", "-20", "1"]
    assert found.labels == ("1", "-20")
    assert found.notes == (info("2 labels are whole numbers; each is learnt as its decimal text"),)


def test_columns_beside_a_forms_keys_have_no_effect_and_are_reported():
    """They are named once, whichever lines have them."""
    rows = [{"id": 1, **GOOD}, {**GOOD, "prompt": "c", "idx": 0, "a b": 2}]
    found = read_examples(jsonl(*rows))
    assert [(one.prompt, one.completion) for one in found.examples] == [("a", "b"), ("c", "b")]
    assert found.notes == (info("only prompt and completion are used; the file has further columns: id, idx, …"),)


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [], "parallel_tool_calls": True, "tool_choice": "auto", "response_format": {"type": "text"}},
        {"weight": 1.0, "system": None, "input": ""},
        {"text": None, "label": None, "messages": None},
    ],
)
def test_keys_that_ask_for_nothing_are_let_pass(more):
    """Without a remark: nothing was asked."""
    found = read_examples(jsonl({**GOOD, **more}))
    assert (found.examples, found.notes) == ((Example("a", "b", 1),), ())


def test_a_million_columns_are_not_kept():
    """The note names the first of them."""
    found = read_examples(jsonl(*({**GOOD, "prompt": str(number), f"c{number}": 1} for number in range(500))))
    (note,) = found.notes
    assert note.text.endswith("further columns: c0, c1, c2, c3, c4, c5, c6, c7, …")
