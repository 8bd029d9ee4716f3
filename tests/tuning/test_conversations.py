"""Conversations: each answer but those of weight 0 is an example, and what asks for something else is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from server.tokenizer.chat_message import ChatMessage
from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import Example, ExampleForm, Reading
from server.tuning.examples import ExampleLimits, read_examples
from server.tuning.notes import info, warning
from tests.tuning.tiny import jsonl

SYSTEM, FIRST, SECOND = (
    {"role": role, "content": content} for role, content in (("system", "Be brief."), ("user", "Hi"), ("user", "Rain?"))
)
HELLO, NO = ({"role": "assistant", "content": content} for content in ("Hello.", "No."))


def read(*messages, **options):
    return read_examples(jsonl({"messages": messages}), **options)


def turns(*messages):
    return tuple(ChatMessage(one["role"], one["content"]) for one in messages)


def refusal(*messages) -> str:
    with pytest.raises(ExamplesRefused) as caught:
        read(*messages)
    assert (caught.value.code, caught.value.line) == ("bad_line", 1)
    return str(caught.value)


def test_messages_and_the_answer_to_them():
    """The last message is the answer, and those before it are the input."""
    found = read(SYSTEM, FIRST, HELLO)
    assert (found.form, found.examples) == (ExampleForm.CHAT, (Example(turns(SYSTEM, FIRST), "Hello.", 1),))
    assert found.notes == ()


def test_every_answer_is_an_example_with_what_was_said_before_it():
    """As OpenAI learns them; an earlier answer is part of a later one's input."""
    found = read(SYSTEM, FIRST, HELLO, SECOND, NO)
    assert found.examples == (
        Example(turns(SYSTEM, FIRST), "Hello.", 1),
        Example(turns(SYSTEM, FIRST, HELLO, SECOND), "No.", 1),
    )
    assert found.notes == (info("1 conversations have 2 answers to learn, each of them an example"),)


@pytest.mark.parametrize(
    ("first", "second", "learnt"), [(0, 1, ["No."]), (1, 0, ["Hello."]), (1.0, None, ["Hello.", "No."])]
)
def test_an_answer_of_weight_0_is_read_and_not_learnt(first, second, learnt):
    """It is context of a later answer, and no example."""
    found = read(FIRST, HELLO | {"weight": first}, SECOND, NO | {"weight": second})
    assert [one.completion for one in found.examples] == learnt
    if learnt == ["No."]:
        assert found.examples[0].prompt == turns(FIRST, HELLO, SECOND)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ((FIRST, NO | {"weight": 0}), "every answer has the weight 0"),
        ((FIRST, NO | {"weight": 0.5}), "a weight that is neither 0 nor 1"),
        ((FIRST, NO | {"weight": 2}), "a weight that is neither 0 nor 1"),
        ((FIRST, NO | {"weight": True}), "a weight that is neither 0 nor 1"),
        ((FIRST, NO | {"weight": "0"}), "a weight that is neither 0 nor 1"),
        ((FIRST | {"weight": 0}, NO), "only the assistant's have one"),
        ((HELLO, FIRST, NO), "begins with an answer"),
        ((FIRST, HELLO, SECOND), "the last message is to have the role assistant"),
        ((FIRST, {"role": "assistant", "tool_calls": [{"id": "a"}]}), "'tool_calls'"),
        ((FIRST, NO | {"content": ""}), "an empty content"),
        ((FIRST, NO | {"content": None}), "a content that is not a text"),
        ((FIRST | {"content": " "}, NO), "an empty content"),
        ((FIRST | {"content": []}, NO), "an empty content"),
        ((FIRST | {"content": ["a"]}, NO), "a content with a part that is not a text"),
        ((FIRST | {"content": [{"type": "image_url", "image_url": {}}]}, NO), "a content with a part"),
        ((FIRST | {"content": [{"type": "text", "text": "a", "lang": "en"}]}, NO), "a content with 'lang'"),
        ((FIRST | {"content": [{"type": "text", "text": 3}]}, NO), "a content that is not a text"),
        ((FIRST, {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}), "'tool_calls'"),
        ((FIRST, NO | {"tool_calls": [{"id": "a"}]}), "'tool_calls'"),
        ((FIRST, NO | {"function_call": {"name": "f"}}), "'function_call'"),
        ((FIRST, NO | {"refusal": "I cannot."}), "'refusal'"),
        ((FIRST, NO | {"reasoning_content": "hm"}), "'reasoning_content'"),
        ((FIRST | {"weigth": 0}, NO), "'weigth'"),
        ((FIRST | {"tool_call_id": 0}, NO), "'tool_call_id'"),
        ((FIRST | {"a b\n": 1}, NO), "another key"),
        (({"role": "human", "content": "a"}, NO), "another role than system, developer, user, assistant"),
        (({"role": "User", "content": "a"}, NO), "another role"),
        (({"role": "tool", "content": "a"}, NO), "another role"),
        (({"role": "user ", "content": "a"}, NO), "another role"),
    ],
)
def test_what_would_be_ignored_is_refused(messages, said):
    """By name where it has a plain one."""
    assert said in refusal(*messages)


@pytest.mark.parametrize(
    "extra", [{"name": None}, {"tool_calls": []}, {"refusal": None}, {"function_call": {}}, {"name": "ann"}, {"id": 7}]
)
def test_what_asks_for_nothing_is_let_pass(extra):
    """As clients write out every field of their types."""
    assert read(FIRST | extra, HELLO | extra).examples == read(FIRST, HELLO).examples


def test_a_content_of_parts_is_their_texts_joined():
    """As the chat route takes them, with what clients say about caching."""
    parts = [{"type": "text", "text": "H", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "i"}]
    assert read(FIRST | {"content": parts}, HELLO).examples == read(FIRST, HELLO).examples


def test_only_a_user_and_a_learnt_answer_must_say_something():
    """A system prompt that is not set, and an assistant's step that said nothing, are context."""
    silent = {"role": "assistant", "content": None, "weight": 0}
    found = read(SYSTEM | {"content": ""}, FIRST, silent, SECOND, NO)
    assert [message.content for message in found.examples[0].prompt] == ["", "Hi", "", "Rain?"]


def test_an_answer_may_come_first_if_it_is_not_learnt():
    """A greeting, before which nobody said anything."""
    found = read(HELLO | {"weight": 0}, FIRST, NO)
    assert found.examples == (Example(turns(HELLO, FIRST), "No.", 1),)


def test_files_of_older_jobs_are_read_as_they_were():
    """The last answer alone, any role, and all else passed over: the very examples that their checkpoints are of."""
    human = {"role": "human", "content": "Hi", "name": "ann"}
    found = read(human, HELLO, SECOND, NO | {"weight": 0, "tool_calls": [1]}, reading=Reading.LAST_ANSWER)
    assert found.examples == (Example(turns(human, HELLO, SECOND), "No.", 1),)
    twice = b'{"prompt": "a", "prompt": "b", "completion": "c"}'
    assert read_examples(twice, reading=Reading.LAST_ANSWER).examples == (Example("b", "c", 1),)


@pytest.mark.parametrize("reading", Reading)
def test_one_answer_is_read_alike_by_every_rule(reading):
    """So a job of an older release and a new one take the same examples."""
    lines = [{"messages": [SYSTEM, FIRST | {"content": str(n)}, HELLO]} for n in range(5)]
    whole = read_examples(jsonl(*lines))
    assert read_examples(jsonl(*lines), reading=reading) == whole


def test_lines_are_counted_once_in_remarks():
    """However many of a conversation's answers repeat an earlier one."""
    found = read_examples(jsonl(*[{"messages": [FIRST, HELLO, SECOND, NO]}] * 2))
    assert found.notes[1:] == (warning("1 lines repeat an earlier example (lines 2)"),)


def test_examples_are_counted_not_lines():
    """The limit is of examples, of which a conversation may have many."""
    content = jsonl({"messages": [FIRST, HELLO] * 3})
    assert len(read_examples(content, ExampleLimits(max_examples=3)).examples) == 3
    with pytest.raises(ExamplesRefused, match="more than 2 examples"):
        read_examples(content, ExampleLimits(max_examples=2))


def test_a_conversation_of_many_answers_is_bounded():
    """What is kept of it grows with the square of its length."""
    content = json.dumps({"messages": [FIRST, HELLO] * 100}).encode()
    limits = ExampleLimits(max_messages=200)
    assert len(read_examples(content, limits).examples) == 100
    with pytest.raises(ExamplesRefused, match="more than 199 messages"):
        read_examples(content, replace(limits, max_messages=199))
    with pytest.raises(ExamplesRefused, match="once per answer") as caught:
        read_examples(content, replace(limits, max_bytes=len(content), max_repeats=1))
    assert (caught.value.code, caught.value.line) == ("file_too_large", 1)
