"""Names: one strict pattern, and references that survive the trip to text and back."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts_store.errors import InvalidName, NameReserved
from prompts_store.names import (
    TASK_NAME,
    TaskReference,
    check_alias_name,
    check_not_reserved,
    check_task_name,
    task_name_of,
)

NAMES = st.from_regex(TASK_NAME, fullmatch=True)


@pytest.mark.parametrize("name", ["a", "0", "sentiment", "a.b_c-d", "7b", "a" * 64])
def test_a_name_inside_the_pattern_is_accepted(name: str) -> None:
    check_task_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "A", "-a", "a-", ".", "..", "a/b", "a b", "a\n", "\n", "a@b", "é", "a" * 65, "a\0", "٣", "tiny/base"],
)
def test_a_name_outside_the_pattern_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_task_name(name)
    with pytest.raises(InvalidName):
        check_alias_name(name)


def test_digits_are_a_task_name_but_no_alias_name() -> None:
    check_task_name("42")
    with pytest.raises(InvalidName):
        check_alias_name("42")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("sentiment", TaskReference("sentiment", None, "production")),
        ("sentiment@3", TaskReference("sentiment", 3, None)),
        ("sentiment@2147483647", TaskReference("sentiment", 2147483647, None)),
        ("sentiment@canary", TaskReference("sentiment", None, "canary")),
    ],
)
def test_a_reference_is_read_and_written(text: str, reference: TaskReference) -> None:
    assert TaskReference.parse(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    ["", "@", "a@", "@3", "a@0", "a@03", "a@-1", "a@+1", "a@2147483648", "a@1.5@2", "a@b@c", "a@B", " a", "a@3 "],
)
def test_a_reference_outside_the_pattern_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        TaskReference.parse(text)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = TaskReference.parse(text)
    except InvalidName:
        return
    assert TaskReference.parse(str(reference)) == reference


@settings(deadline=None)
@given(NAMES, st.one_of(st.integers(1, 2**31 - 1).map(str), NAMES.filter(lambda name: not name.isdigit())))
def test_every_name_and_selector_make_a_reference(task: str, selector: str) -> None:
    reference = TaskReference.parse(f"{task}@{selector}")
    assert selector in (str(reference.version), reference.alias)


def test_a_base_name_is_reserved() -> None:
    check_not_reserved("sentiment", ("gpt2",))
    with pytest.raises(NameReserved):
        check_not_reserved("gpt2", ("gpt2",))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mood", "mood"),
        ("a--b..c", "a--b..c"),
        ("My Task 1", "my-task-1"),
        (" Urgency\t(v2)! ", "urgency-v2"),
        ("MOOD", "mood"),
        ("mood@production", "mood-production"),
        ("_draft_", "draft"),
        ("Prüfung", "pr-fung"),
        ("A" * 70, "a" * 64),
        ("a" * 63 + " b", "a" * 63),
    ],
)
def test_a_text_becomes_a_task_name(text: str, name: str) -> None:
    """In lower case, with "-" for each run of other characters; a task name stays as it is."""
    assert task_name_of(text) == name


@pytest.mark.parametrize("text", ["", " ", "?!", "._-", "日本"])
def test_a_text_without_a_letter_of_a_task_name_is_refused(text: str) -> None:
    """Nothing would be left."""
    with pytest.raises(InvalidName):
        task_name_of(text)


@given(st.text())
def test_a_text_becomes_a_valid_task_name_or_is_refused(text: str) -> None:
    """Whatever the text is; and the name stays as it is."""
    with suppress(InvalidName):
        name = task_name_of(text)
        check_task_name(name)
        assert task_name_of(name) == name
