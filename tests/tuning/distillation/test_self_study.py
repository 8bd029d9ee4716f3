"""Inputs that the base model writes behind a text, over an engine that writes by a script."""

from __future__ import annotations

import pytest

from prompts_store.manifest import Manifest
from server.tuning.distillation.self_study import InputWriter, pending, write_inputs
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()
END = TOKENIZER.eos_token_id
TEXT = "Say what it is.\nReview: a fine film\nMood: good\n"
PLAIN = Manifest(template="Review: {input}\nMood:")
CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }} /{{ '\n' }}{% endfor %}[assistant] "


def engine_of(script) -> ScriptedEngine:
    def tokens(request, choice):
        return (*TOKENIZER.encode(script(request), add_special_tokens=False), END)

    return ScriptedEngine(tokens, frozenset({END}))


def numbered(request) -> str:
    return f" film {request.kind.sampling.seed}\nMood: never read"


def prompts_of(engine: ScriptedEngine) -> list[str]:
    return [TOKENIZER.decode(request.prompt_token_ids) for request in engine.requests]


async def test_it_goes_on_where_the_input_begins():
    """Up to the text that follows an input in the template. Each request has a seed, and yields to others."""
    engine, drafts = engine_of(numbered), {}
    inputs = await write_inputs(engine, InputWriter(TOKENIZER, PLAIN, TEXT), 3, drafts)
    assert inputs == ["film 0", "film 1", "film 2"]
    assert prompts_of(engine) == [f"{TEXT}Review:"] * 3
    assert all(request.is_batch and not request.kind.sampling.is_greedy for request in engine.requests)


async def test_in_a_chat_template_it_writes_the_message_of_the_user():
    """The text is the system's message, and the message ends where the template goes on."""
    tokenizer = byte_level(CHAT)
    engine = engine_of(lambda request: "hello /\n[assistant] hi")
    writer = InputWriter(tokenizer, Manifest(chat_template=True), "Be kind.")
    assert await write_inputs(engine, writer, 1, {}) == ["hello"]
    assert prompts_of(engine) == ["[system] Be kind. /\n[user] "]


@pytest.mark.parametrize(
    ("manifest", "prompt"),
    [
        (Manifest(chat_template=True), "[system] A text. /\n[user] Ask A /\n[assistant] "),
        (Manifest(template="{input}\n"), "A text.\n\nAsk A\n"),
    ],
)
async def test_it_answers_one_wish_after_the_other(manifest, prompt):
    """For a part of a document: its questions are asked for in several ways."""
    engine = engine_of(lambda request: f"Why {request.kind.sampling.seed}?")
    writer = InputWriter(byte_level(CHAT), manifest, "A text.", asks=("Ask A", "Ask B"))
    assert await write_inputs(engine, writer, 3, {}) == ["Why 0?", "Why 1?", "Why 2?"]
    assert prompts_of(engine) == [prompt, prompt.replace("Ask A", "Ask B"), prompt]


async def test_empty_equal_and_long_drafts_are_dropped():
    """More are written in their place, some at once, and the first ones are taken."""
    texts = ["one", " \n", "one", "long " * 200, "two", "three", "four", "five"]
    engine, drafts = engine_of(lambda request: texts[request.kind.sampling.seed]), {}
    writer = InputWriter(TOKENIZER, PLAIN, TEXT)
    assert await write_inputs(engine, writer, 2, drafts) == ["one", "two"]
    assert drafts == dict(enumerate(["one", "", "one", "", "two", "three", "four", "five"]))


async def test_a_base_model_that_repeats_itself_ends():
    """With fewer inputs than were asked for, after four drafts for each."""
    engine, drafts = engine_of(lambda request: "the same"), {}
    assert await write_inputs(engine, InputWriter(TOKENIZER, PLAIN, TEXT), 3, drafts) == ["the same"]
    assert len(drafts) == len(engine.requests) == 12


@pytest.mark.parametrize("count", [10, 1_000, 20_000])
def test_a_base_model_that_repeats_itself_is_asked_in_few_rounds(count):
    """Every input but one is there at once, and that one never comes."""
    drafts = {number: f"input {number}" for number in range(count - 1)}
    num_rounds = 0
    while numbers := pending(drafts, count):
        drafts |= dict.fromkeys(numbers, "input 0")
        num_rounds += 1
    assert set(drafts) == set(range(4 * count))
    assert num_rounds <= 26


async def test_kept_drafts_are_not_written_again():
    """A resumed study ends with the inputs of one that never stopped."""
    writer = InputWriter(TOKENIZER, PLAIN, TEXT, seed=7)
    whole: dict[int, str] = {}
    expected = await write_inputs(engine_of(numbered), writer, 5, whole)
    kept = {number: whole[number] for number in (0, 3)}
    engine = engine_of(numbered)
    assert await write_inputs(engine, writer, 5, kept) == expected
    assert len(engine.requests) == 3
