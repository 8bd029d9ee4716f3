"""The text that is served, whatever the tokenizer: of its own behind a template or a conversation, else continued."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import client_of, error_of, events_of, publish
from tests.api.test_ensembles import publish_ensemble
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import FAMILIES, sentencepiece

TASK = {"template": " {input} ->", "labels": ["positive", "negative"]}
CHAT = {"messages": [{"role": "user", "content": "a film"}]}


@pytest.fixture(params=FAMILIES)
def tokenizer(request):
    return FAMILIES[request.param]


@pytest.fixture
async def http(services, engine, tokenizer):
    """A client of a server on this tokenizer, whose engine says "positive" as it is taught."""
    engine.eos_token_ids = tokenizer.eos_token_ids()
    says(engine, tokenizer, "positive")
    async with client_of(with_parts(services, tokenizer=tokenizer, eos_token_ids=tokenizer.eos_token_ids())) as http:
        await publish(http, manifest=TASK)
        yield http


def says(engine, tokenizer, text):
    ids = (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id)
    engine.script = lambda request, choice: ids


async def text_of(http, **body):
    response = await http.post("/v1/completions", json={"max_tokens": 60, **body})
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["text"]


async def test_a_task_answers_with_the_very_text_that_it_was_taught(http):
    """As a completion, as a chat, streamed, and as one of several choices."""
    assert await text_of(http, model="sentiment", prompt="a film") == "positive"
    answer = await http.post("/v1/chat/completions", json={"model": "sentiment", "n": 2, **CHAT})
    assert [choice["message"]["content"] for choice in answer.json()["choices"]] == ["positive"] * 2
    streamed = await http.post("/v1/completions", json={"model": "sentiment", "prompt": "a", "stream": True})
    pieces = [event["choices"][0]["text"] for event in events_of(streamed.text) if event != "[DONE]"]
    assert "".join(pieces) == "positive"


async def test_the_base_model_answers_a_chat_with_a_text_of_its_own(http):
    answer = await http.post("/v1/chat/completions", json={"model": "tiny-base", **CHAT})
    assert answer.json()["choices"][0]["message"]["content"] == "positive"


async def test_a_plain_text_and_token_ids_are_gone_on_with(http, tokenizer):
    """What is joined to the prompt reads as one text: of the base model, and of a version without a template."""
    await publish(http, "plain", manifest={})
    ids = tokenizer.encode("a film")
    answer = tokenizer.encode("positive", add_special_tokens=False)
    expected = tokenizer.decode([*ids, *answer]).removeprefix(tokenizer.decode(ids))
    for model in ("tiny-base", "plain"):
        assert await text_of(http, model=model, prompt="a film") == expected
    for model in ("tiny-base", "plain", "sentiment"):
        assert await text_of(http, model=model, prompt=list(ids)) == expected


@pytest.mark.parametrize("logprobs", [0, 2])
@pytest.mark.parametrize("echo", [False, True])
async def test_tokens_joined_are_the_text_and_offsets_point_into_it(http, tokenizer, logprobs, echo):
    """But for special tokens, which are listed by name."""
    for body in ({"model": "sentiment", "prompt": "a film"}, {"model": "tiny-base", "prompt": "a film"}):
        sent = {**body, "logprobs": logprobs, "echo": echo, "max_tokens": 60}
        choice = (await http.post("/v1/completions", json=sent)).json()["choices"][0]
        names = {tokenizer.token_text(token_id) for token_id in tokenizer.special_token_ids}
        listed = zip(choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], strict=True)
        tokens = [(token, offset) for token, offset in listed if token not in names]
        assert "".join(token for token, _ in tokens) == choice["text"]
        assert all(choice["text"][offset:].startswith(token) for token, offset in tokens)


async def test_bytes_joined_are_the_text_of_a_chat(http):
    body = {"model": "sentiment", "logprobs": True, "top_logprobs": 2, **CHAT}
    choice = (await http.post("/v1/chat/completions", json=body)).json()["choices"][0]
    assert bytes(byte for token in choice["logprobs"]["content"] for byte in token["bytes"]) == b"positive"
    for token in choice["logprobs"]["content"]:
        assert token["token"].encode() == bytes(token["bytes"])


async def test_an_echo_is_the_prompt_and_then_the_answer(http, tokenizer):
    said = await text_of(http, model="sentiment", prompt="a film", echo=True)
    assert said == tokenizer.decode(tokenizer.encode(" a film ->")) + "positive"


async def test_a_stop_string_at_the_begin_of_an_answer_is_found(http, engine, tokenizer):
    """It is looked for in the text that is served."""
    says(engine, tokenizer, "no")
    assert await text_of(http, model="sentiment", prompt="a", stop=["n"]) == ""
    assert await text_of(http, model="sentiment", prompt="a", stop=[" n"]) == "no"


async def test_min_and_max_tokens_cut_no_more_than_tokens(http, tokenizer):
    """The first token alone is the first of the answer's text."""
    first = tokenizer.encode("positive", add_special_tokens=False)[:1]
    for body in ({"max_tokens": 1}, {"max_tokens": 1, "min_tokens": 1, "stop": ["p"]}):
        assert await text_of(http, model="sentiment", prompt="a", **body) == tokenizer.decode(first)


async def test_an_ensemble_votes_on_the_texts_that_its_members_would_serve(http):
    await publish(http, manifest=TASK, seed=1)
    made = await publish_ensemble(http, [1, 2])
    assert made.status_code == 201, made.text
    assert await text_of(http, model=f"sentiment@{made.json()['version']}", prompt="a") == "positive"


# --- token ids without a row ------------------------------------------------------------------------------------------


@pytest.fixture
async def narrow(services, engine):
    """A server whose base model has no rows for the tokens that were added last."""
    tokenizer = sentencepiece(lacks_rows=True)
    says(engine, tokenizer, "a")
    async with client_of(with_parts(services, tokenizer=tokenizer, eos_token_ids=tokenizer.eos_token_ids())) as http:
        yield http


FIRST_MISSING = sentencepiece(lacks_rows=True).num_ids
REFUSED = [
    ("/v1/completions", {"prompt": "a [PAD]"}),
    ("/v1/completions", {"prompt": ["a", "<new3>"]}),
    ("/v1/completions", {"prompt": [FIRST_MISSING]}),
    ("/v1/completions", {"prompt": [-1]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "[PAD]"}]}),
    ("/v1/classify", {"input": "a [PAD]", "labels": ["a", "b"]}),
    ("/v1/classify", {"input": "a", "labels": ["a", "[PAD]"]}),
    ("/tokenize", {"prompt": "[PAD]"}),
    ("/detokenize", {"tokens": [FIRST_MISSING]}),
]


@pytest.mark.parametrize(("path", "body"), REFUSED)
async def test_what_has_no_row_is_refused_wherever_it_is_sent(narrow, engine, path, body):
    """In one way, and nothing of it reaches the engine."""
    response = await narrow.post(path, json={"model": "tiny-base", **body})
    assert response.status_code == 400, response.text
    if body.get("prompt") != [-1]:
        error = error_of(response)
        assert error["code"] == "token_out_of_range"
        assert f"0 to {FIRST_MISSING - 1}" in error["message"]
    assert not engine.requests


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("hyperparameters", {"initialisation": "TEXT", "init_text": "a [PAD]"}, "hyperparameters.init_text"),
        ("labels", ["a", "[PAD]"], "labels"),
        ("template", "[PAD] {input}", "template"),
        ("defaults", {"stop_token_ids": [FIRST_MISSING]}, "defaults"),
    ],
)
async def test_a_job_that_could_never_be_served_is_refused_at_once(narrow, field, value, param):
    """Before a file is read or a step is taken."""
    rows = "".join(json.dumps({"text": f"a {n}", "label": "ab"[n % 2]}) + "\n" for n in range(20))
    sent = await narrow.post("/v1/files", files={"file": ("a.jsonl", rows.encode())}, data={"purpose": "fine-tune"})
    body = {"model": "tiny-base", "suffix": "mood", "training_file": sent.json()["id"], field: value}
    response = await narrow.post("/v1/fine_tuning/jobs", json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param
