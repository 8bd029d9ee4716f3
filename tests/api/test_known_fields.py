"""Known fields of OpenAI's interface: strict by effect, not by name."""

import itertools
import typing
from pathlib import Path

import pytest
from openai.types import completion_create_params
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionMessage,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
    ParsedChatCompletionMessage,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.fine_tuning import job_create_params, supervised_hyperparameters_param, supervised_method_param

from server.api.fields_page import PLACES, fields_page
from server.api.wire.chat import ChatMessageBody, ChatRequest, ChatTextPart
from server.api.wire.completions import CompletionRequest
from server.api.wire.sampling import StreamOptions
from server.api.wire.tuning import CreateJob, Hyperparameters, MethodBody, Supervised
from tests.api.conftest import client_of, error_of
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import byte_level

CHAT = {"model": "tiny-base", "messages": [{"role": "user", "content": "a"}]}
COMPLETION = {"model": "tiny-base", "prompt": "a"}
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
ROUTES = {"/v1/chat/completions": (ChatRequest, CHAT), "/v1/completions": (CompletionRequest, COMPLETION)}


def fields_of(*types):
    """The fields of typed dictionaries and models of the `openai` package."""
    return frozenset(
        itertools.chain.from_iterable(
            getattr(each, "model_fields", None) or typing.get_type_hints(each) for each in types
        )
    )


@pytest.fixture
async def chat_client(services):
    """A client of a base model with a chat template that shows every message."""
    services = with_parts(services, tokenizer=byte_level(TEMPLATE))
    async with client_of(services) as http:
        yield http


OPENAI = {
    ChatRequest: fields_of(chat_create_params.CompletionCreateParamsStreaming),
    CompletionRequest: fields_of(completion_create_params.CompletionCreateParamsStreaming),
    ChatMessageBody: fields_of(
        ChatCompletionAssistantMessageParam,
        ChatCompletionDeveloperMessageParam,
        ChatCompletionMessage,
        ChatCompletionSystemMessageParam,
        ChatCompletionToolMessageParam,
        ChatCompletionUserMessageParam,
        ParsedChatCompletionMessage,
    ),
    ChatTextPart: fields_of(ChatCompletionContentPartTextParam),
    StreamOptions: fields_of(ChatCompletionStreamOptionsParam),
    CreateJob: fields_of(job_create_params.JobCreateParams),
    MethodBody: fields_of(job_create_params.Method),
    Supervised: fields_of(supervised_method_param.SupervisedMethodParam),
    Hyperparameters: fields_of(supervised_hyperparameters_param.SupervisedHyperparametersParam),
}


@pytest.mark.parametrize("body", OPENAI, ids=lambda body: body.__name__)
def test_every_field_of_the_openai_package_is_known(body):
    """A new release of the package shows what is new here."""
    assert OPENAI[body] - set(body.model_fields) - set(body.passive_fields) == set()


@pytest.mark.parametrize("body", OPENAI, ids=lambda body: body.__name__)
def test_a_field_said_to_be_openais_is_in_the_package(body):
    """The other direction: the tables name nothing that the package has lost."""
    ours = {field.name for field in body.passive_fields.values() if field.origin == "OpenAI"}
    assert ours - OPENAI[body] - OPENAI[ChatRequest] == set()


def test_no_field_is_both_done_and_passive():
    """A passive field never reaches its body."""
    for body in PLACES.values():
        assert set(body.model_fields).isdisjoint(body.passive_fields)


def test_the_page_of_fields_is_up_to_date():
    """`make openapi` writes it."""
    assert (Path(__file__).parents[2] / "docs" / "fields.md").read_text() == fields_page()


@pytest.mark.parametrize("path", ROUTES)
async def test_a_field_that_asks_for_nothing_has_no_effect(client, path):
    """null, a listed value, or anything in a hint."""
    body, request = ROUTES[path]
    plain = (await client.post(path, json=request)).json()["choices"]
    for name, field in body.passive_fields.items():
        for value in (None, *field.passive, *((1, "x", {"a": []}) if field.is_hint else ())):
            answer = await client.post(path, json=request | {name: value})
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"] == plain


@pytest.mark.parametrize("path", ROUTES)
async def test_a_field_that_asks_for_something_is_refused_by_name(client, path):
    """With what to do instead, where there is something."""
    body, request = ROUTES[path]
    num_refused = 0
    for name, field in body.passive_fields.items():
        for value in (True, False, 7, "some", ["some"], {"some": "thing"}, [], {}, ""):
            if not field.asks_nothing(value):
                error = error_of(await client.post(path, json=request | {name: value}))
                assert (error["code"], error["param"]) == ("unsupported_parameter", name)
                assert f"'{name}' is not supported" in error["message"]
                num_refused += 1
    assert num_refused > 100


@pytest.mark.parametrize("path", ROUTES)
async def test_null_asks_for_nothing(client, path):
    """In every optional field, done or not."""
    body, request = ROUTES[path]
    optional = [name for name, field in body.model_fields.items() if not field.is_required()]
    nothing = dict.fromkeys([*optional, *body.passive_fields])
    assert (await client.post(path, json=request | nothing)).status_code == 200


@pytest.mark.parametrize(("value", "passive"), [(1, True), (1.0, True), (True, False), ("1", False)])
async def test_true_is_not_one(client, value, passive):
    """JSON's numbers are equal by value, and a truth value is none."""
    response = await client.post("/v1/completions", json=COMPLETION | {"best_of": value})
    assert response.status_code == (200 if passive else 400)


ANSWERS = {
    "model_dump": ChatCompletionMessage(role="assistant", content="b").model_dump(),
    "parsed": ParsedChatCompletionMessage(role="assistant", content="b", parsed=None).model_dump(),
    "to_dict": ChatCompletionMessage(role="assistant", content="b").to_dict(),
    "empty": {"role": "assistant", "content": "b", "tool_calls": [], "annotations": [], "refusal": None, "audio": None},
    "null": {"role": "assistant", "content": None},
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_of_the_sdk_goes_back_into_the_conversation(chat_client, answer):
    """As the package's own types write it."""
    question = {"role": "user", "content": "a"}
    response = await chat_client.post("/v1/chat/completions", json=CHAT | {"messages": [question, answer, question]})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
async def test_a_message_may_have_a_name(chat_client, role):
    """A hint, on any role."""
    messages = [{"role": role, "content": "a", "name": "kim"}, {"role": "user", "content": "b"}]
    if role == "user":
        messages = messages[:1]
    assert (await chat_client.post("/v1/chat/completions", json=CHAT | {"messages": messages})).status_code == 200


MESSAGE_REFUSED = [
    ({"tool_calls": [{"id": "1"}]}, "messages[1].tool_calls"),
    ({"function_call": {"name": "f"}}, "messages[1].function_call"),
    ({"refusal": "No."}, "messages[1].refusal"),
    ({"audio": {"id": "1"}}, "messages[1].audio"),
    ({"content": [{"type": "refusal", "refusal": "No."}]}, "messages[1].content"),
]


@pytest.mark.parametrize(("more", "param"), MESSAGE_REFUSED)
async def test_what_a_message_asks_for_is_refused_by_name(client, more, param):
    """The place in the conversation is named too."""
    question = {"role": "user", "content": "a"}
    messages = [question, {"role": "assistant", "content": "b"} | more, question]
    error = error_of(await client.post("/v1/chat/completions", json=CHAT | {"messages": messages}))
    assert error["param"] == param


@pytest.mark.parametrize("role", ["system", "user"])
async def test_only_an_assistant_may_say_null(client, role):
    """Others must say something, or the empty text."""
    error = error_of(
        await client.post("/v1/chat/completions", json=CHAT | {"messages": [{"role": role, "content": None}]})
    )
    assert error["param"] == "messages[0]"


@pytest.mark.parametrize("path", ROUTES)
async def test_minus_one_is_the_room_in_the_context(client, engine, path):
    """llama.cpp's and LM Studio's way to set no limit."""
    await client.post(path, json=ROUTES[path][1] | {"max_tokens": -1})
    request = engine.requests[-1]
    assert request.kind.sampling.max_tokens == engine.max_context - len(request.prompt_token_ids)


@pytest.mark.parametrize(("name", "value"), [("top_p", 0), ("top_k", -1), ("top_k", 0)])
async def test_other_servers_ways_to_say_off_are_taken(client, name, value):
    """`top_p` 0 is the most likely token; `top_k` -1 is vLLM's "off"."""
    response = await client.post("/v1/completions", json=COMPLETION | {name: value})
    assert response.status_code == 200
