import pytest

from tests.api.conftest import client_of, error_of, events_of, publish
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()
BASE = {"model": "tiny-base", "messages": [{"role": "user", "content": "What a film."}]}
TEMPLATE = "<end>{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"


@pytest.fixture
async def templated(services):
    """A client of a server whose tokenizer has a chat template."""
    async with client_of(with_parts(services, tokenizer=byte_level(TEMPLATE))) as http:
        yield http


async def test_without_a_chat_template_a_user_message_is_the_tasks_input(client, engine):
    """It goes into the task's template like a prompt."""
    await publish(client)
    response = await client.post("/v1/chat/completions", json=BASE | {"model": "sentiment"})
    assert response.json()["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": " positive"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert response.headers["x-softprompt-version"] == "1"
    assert TOKENIZER.decode(engine.requests[0].prompt_token_ids) == " What a film. ->"


async def test_a_chat_template_renders_the_messages_for_the_tasks_template(templated, engine):
    """First the conversation, then the template around it; pieces of text are joined."""
    await publish(templated)
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "now?"}]},
    ]
    await templated.post("/v1/chat/completions", json={"model": "sentiment", "messages": messages})
    (request,) = engine.requests
    expected = " <end>[system] be brief\n[user] What now?\n[assistant] ->"
    assert TOKENIZER.decode(request.prompt_token_ids, skip_special_tokens=False) == expected
    assert TOKENIZER.eos_token_id in request.prompt_token_ids


async def test_a_version_may_put_inputs_into_the_chat_template(templated, engine):
    """A prompt, a text to classify and a text to tokenize are then what a user's message alone is in a chat."""
    published = await publish(templated, manifest={"chat_template": True, "labels": ["good", "bad"]})
    assert published.json()["manifest"]["chat_template"] is True
    asked = {"model": "sentiment", "prompt": "What a film."}
    assert (await templated.post("/v1/completions", json=asked)).is_success
    await templated.post("/v1/chat/completions", json=BASE | {"model": "sentiment"})
    await templated.post("/v1/classify", json={"model": "sentiment", "input": "What a film."})
    tokenized = await templated.post("/tokenize", json=asked)
    prompts = {request.prompt_token_ids for request in engine.requests}
    expected = byte_level(TEMPLATE).encode("<end>[user] What a film.\n[assistant]", add_special_tokens=False)
    assert prompts == {expected}
    assert tuple(tokenized.json()["tokens"]) == expected


async def test_a_version_that_needs_a_chat_template_is_refused_without_one(client, engine):
    """Its prompts would be others than those that it was tuned on."""
    await publish(client, manifest={"chat_template": True})
    response = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "What a film."})
    assert (response.status_code, error_of(response)["code"], error_of(response)["param"]) == (
        400, "chat_refused", "model",
    )  # fmt: skip
    assert not engine.requests


async def test_what_a_chat_template_leaves_out_is_refused_by_its_message(services, engine):
    """A server that would silently drop it is worse than one that refuses."""
    last_only = "{{ messages[-1].content }}"
    messages = [{"role": "system", "content": "be brief"}, *BASE["messages"]]
    async with client_of(with_parts(services, tokenizer=byte_level(last_only))) as http:
        response = await http.post("/v1/chat/completions", json=BASE | {"messages": messages})
        assert (response.status_code, error_of(response)["code"]) == (400, "chat_refused")
        assert error_of(response)["param"] == "messages[0]"
        assert not engine.requests
        assert (await http.post("/v1/chat/completions", json=BASE)).status_code == 200


async def test_whatever_a_chat_template_raises_is_a_bad_request(services, engine):
    """Python's own exceptions included."""
    async with client_of(with_parts(services, tokenizer=byte_level("{{ messages[0].content + 1 }}"))) as http:
        response = await http.post("/v1/chat/completions", json=BASE)
    assert (response.status_code, error_of(response)["code"], error_of(response)["param"]) == (
        400,
        "chat_refused",
        "messages",
    )


@pytest.mark.parametrize("roles", [("system", "user"), ("user", "user"), ("user", "assistant", "user")])
async def test_more_than_one_user_message_needs_a_chat_template(client, roles):
    """A server that would silently drop the others is worse than one that refuses."""
    body = BASE | {"messages": [{"role": role, "content": "x"} for role in roles]}
    response = await client.post("/v1/chat/completions", json=body)
    assert (response.status_code, error_of(response)["code"]) == (400, "chat_refused")


async def test_the_answer_may_fill_the_context(client, engine):
    """Without a limit of request or version, all room behind virtual tokens and prompt is allowed."""
    await publish(client)
    body = BASE | {"model": "sentiment"}
    await client.post("/v1/chat/completions", json=body)
    (request,) = engine.requests
    assert request.kind.sampling.max_tokens == engine.max_context - 4 - len(request.prompt_token_ids)
    for name in ("max_tokens", "max_completion_tokens"):
        await client.post("/v1/chat/completions", json=body | {name: 5})
        assert engine.requests[-1].kind.sampling.max_tokens == 5


@pytest.mark.parametrize(
    ("limit", "body", "max_tokens"),
    [
        (8, {}, 8),
        (0, {}, None),
        (100_000, {}, None),
        (8, {"max_tokens": 9}, 9),
        (8, {"max_tokens": -1}, None),
        (8, {"min_tokens": 12}, 12),
    ],
    ids=str,
)
async def test_an_answer_without_a_limit_has_the_servers(limited, engine, limit, body, max_tokens):
    """Never more than the context has room for, which is all of it for 0 and for -1 of the request."""
    async with limited(max_chat_tokens=limit) as http:
        assert (await http.post("/v1/chat/completions", json=BASE | body)).status_code == 200
    (request,) = engine.requests
    left = engine.max_context - len(request.prompt_token_ids)
    assert request.kind.sampling.max_tokens == (left if max_tokens is None else max_tokens)


async def test_an_answer_that_reaches_the_servers_limit_says_so(limited, engine):
    """As one that reaches the request's."""
    engine.script = lambda request, choice: tuple(range(10, 90))
    async with limited(max_chat_tokens=8) as http:
        answer = (await http.post("/v1/chat/completions", json=BASE)).json()
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 8)


async def test_a_chat_has_the_base_models_own_sampling_parameters(services, engine):
    """Behind those of the request; completions have the server's."""
    async with client_of(with_parts(services, chat_defaults={"temperature": 0.6, "top_p": 0.9})) as http:
        await http.post("/v1/chat/completions", json=BASE)
        await http.post("/v1/chat/completions", json=BASE | {"temperature": 0, "top_k": 5})
        await http.post("/v1/completions", json={"model": "tiny-base", "prompt": "a"})
    chosen = [request.kind.sampling for request in engine.requests]
    assert [(one.temperature, one.top_p, one.top_k) for one in chosen] == [(0.6, 0.9, 0), (0, 0.9, 5), (1.0, 1.0, 0)]


@pytest.mark.parametrize(
    ("defaults", "chosen"),
    [({"temperature": 0.0}, (0.0, 1.0)), ({"presence_penalty": 0.5}, (1.0, 1.0)), ({"max_tokens": 3}, (0.6, 1.05))],
    ids=str,
)
async def test_a_version_with_sampling_parameters_has_none_of_the_base_model(services, engine, defaults, chosen):
    """It was judged without them. One without has those of the base model."""
    own = {"temperature": 0.6, "repetition_penalty": 1.05}
    async with client_of(with_parts(services, chat_defaults=own)) as http:
        await publish(http, manifest={"template": "{input}", "defaults": defaults})
        assert (await http.post("/v1/chat/completions", json=BASE | {"model": "sentiment"})).status_code == 200
    (request,) = engine.requests
    assert (request.kind.sampling.temperature, request.kind.sampling.repetition_penalty) == chosen


async def test_two_different_limits_contradict_each_other(client):
    """One of the two names is enough."""
    response = await client.post("/v1/chat/completions", json=BASE | {"max_tokens": 1, "max_completion_tokens": 2})
    assert error_of(response)["param"] == "max_completion_tokens"


async def test_a_conversation_without_room_is_refused_with_the_numbers(client):
    """The engine's own words reach the caller."""
    body = BASE | {"messages": [{"role": "user", "content": "long " * 300}]}
    error = error_of(await client.post("/v1/chat/completions", json=body))
    assert error["code"] == "context_exceeded"
    assert "256" in error["message"]


async def test_logprobs_have_bytes(client):
    """Each token with its bytes and, where asked for, the likeliest in its place."""
    body = BASE | {"logprobs": True, "top_logprobs": 2}
    content = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in content) == b" positive"
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] == -0.5 for token in content)


@pytest.mark.parametrize("extra", [{}, {"n": 2}, {"logprobs": True}, {"return_token_ids": True}])
async def test_a_stream_adds_up_to_the_body(client, extra):
    """First the role, then the text, then why it ended, then the usage."""
    body = BASE | extra
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    stream = body | {"stream": True, "stream_options": {"include_usage": True}}
    opening, *chunks, last, done = events_of((await client.post("/v1/chat/completions", json=stream)).text)
    assert done == "[DONE]"
    assert last["usage"] == whole["usage"]
    assert [choice["delta"] for choice in opening["choices"]] == [{"role": "assistant", "content": ""}] * len(
        whole["choices"]
    )
    assert opening.get("prompt_token_ids") == whole.get("prompt_token_ids")
    for choice in whole["choices"]:
        pieces = [piece for chunk in chunks for piece in chunk["choices"] if piece["index"] == choice["index"]]
        assert "".join(piece["delta"].get("content", "") for piece in pieces) == choice["message"]["content"]
        assert pieces[-1]["finish_reason"] == choice["finish_reason"]
        if choice["logprobs"]:
            content = [token for piece in pieces for token in piece["logprobs"]["content"]]
            assert content == choice["logprobs"]["content"]
        assert [x for piece in pieces for x in piece.get("token_ids", [])] == choice.get("token_ids", [])
