"""Known fields of OpenAI's interface: strict by effect, not by name."""

import itertools
import typing
from pathlib import Path

import pytest
from openai.types import completion_create_params, file_list_params
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
from openai.types.file_create_params import FileCreateParams
from openai.types.fine_tuning import (
    job_create_params,
    job_list_events_params,
    job_list_params,
    supervised_hyperparameters_param,
    supervised_method_param,
)
from openai.types.fine_tuning.jobs import checkpoint_list_params

from server.api.fields_page import PLACES, fields_page
from server.api.management.file_upload import FILE_SCHEMA
from server.api.wire.chat import ChatMessageBody, ChatRequest, ChatTextPart
from server.api.wire.completions import CompletionRequest
from server.api.wire.passive_fields import CHAT_FIELDS, FILE_FIELDS, MESSAGE_FIELDS, TEXT_PART_FIELDS
from server.api.wire.sampling import StreamOptions
from server.api.wire.tuning import CreateJob, Hyperparameters, MethodBody, Supervised
from server.settings import ServeSettings
from server.tuning.line_fields import LINE_KEYS, MESSAGE_HINTS, PART_HINTS, asks_nothing
from tests.api.conftest import client_of, error_of, events_of
from tests.fakes import openapi
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


@pytest.mark.parametrize(("name", "value"), [("top_p", 0), ("top_k", -1), ("top_k", 0), ("stop", ""), ("stop", [])])
async def test_other_servers_ways_to_say_off_are_taken(client, name, value):
    """`top_p` 0 is the most likely token; `top_k` -1 is vLLM's "off"; an empty text is no stop string."""
    response = await client.post("/v1/completions", json=COMPLETION | {name: value})
    assert response.status_code == 200


@pytest.mark.parametrize("path", ROUTES)
async def test_options_of_a_stream_ask_for_nothing_without_one(client, path):
    """An answer has its usage in any case."""
    plain = (await client.post(path, json=ROUTES[path][1])).json()
    options = {"include_usage": True, "continuous_usage_stats": True}
    answer = (await client.post(path, json=ROUTES[path][1] | {"stream_options": options})).json()
    assert (answer["choices"], answer["usage"]) == (plain["choices"], plain["usage"])


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("extra", [{}, {"n": 2}])
async def test_every_chunk_has_the_usage_so_far(client, path, extra):
    """vLLM's `continuous_usage_stats`; the last chunk has the usage of the whole."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = ROUTES[path][1] | extra | {"stream": True, "stream_options": options}
    *chunks, done = events_of((await client.post(path, json=stream)).text)
    whole = (await client.post(path, json=ROUTES[path][1] | extra)).json()["usage"]
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert done == "[DONE]"
    assert counts == sorted(counts)
    assert len(set(counts)) > 1
    assert chunks[-1]["usage"] == whole
    assert all(
        chunk["usage"]["total_tokens"] == whole["prompt_tokens"] + chunk["usage"]["completion_tokens"]
        for chunk in chunks
    )


@pytest.mark.parametrize("path", ROUTES)
async def test_usage_so_far_needs_the_usage(client, path):
    """As in vLLM: without `include_usage` no chunk has a usage."""
    stream = ROUTES[path][1] | {"stream": True, "stream_options": {"continuous_usage_stats": True}}
    *chunks, _ = events_of((await client.post(path, json=stream)).text)
    assert all("usage" not in chunk for chunk in chunks)


def test_every_field_of_the_openai_packages_upload_is_known():
    """A form, whose fields are known by the document and by a table."""
    assert fields_of(FileCreateParams) == {*FILE_SCHEMA["properties"], *FILE_FIELDS}


LISTS = {
    "/v1/files": file_list_params.FileListParams,
    "/v1/fine_tuning/jobs": job_list_params.JobListParams,
    "/v1/fine_tuning/jobs/{job_id}/events": job_list_events_params.JobListEventsParams,
    "/v1/fine_tuning/jobs/{job_id}/checkpoints": checkpoint_list_params.CheckpointListParams,
}


@pytest.mark.parametrize("path", LISTS)
def test_every_parameter_of_the_openai_packages_lists_is_known(path):
    """All but the filter of jobs by metadata are done; that one is refused by name."""
    parameters = openapi.document()["paths"][path]["get"]["parameters"]
    done = {one["name"] for one in parameters if one["in"] == "query"}
    assert fields_of(LISTS[path]) - done == ({"metadata"} if path == "/v1/fine_tuning/jobs" else set())


@pytest.mark.parametrize("path", ["/v1/files", "/v1/fine_tuning/jobs"])
@pytest.mark.parametrize("query", ["limit=", "after=", "limit=&after="])
async def test_an_empty_query_value_asks_for_nothing(client, path, query):
    """As forms of user interfaces write what nobody filled in."""
    assert (await client.get(f"{path}?{query}")).json() == (await client.get(path)).json()


async def test_a_misspelt_query_parameter_is_refused_even_if_empty(client):
    """Its name may be a flag: `?dry_run`."""
    assert error_of(await client.get("/v1/files?prupose="))["param"] == "prupose"


def test_lines_of_training_files_have_the_same_hints():
    """A conversation of a log is read as the chat route reads it."""
    for hints, fields in ((MESSAGE_HINTS, MESSAGE_FIELDS), (PART_HINTS, TEXT_PART_FIELDS)):
        assert hints == {name for name, field in fields.items() if field.is_hint}


def test_keys_of_training_lines_ask_for_nothing_with_the_same_values():
    """Those that requests of the chat route have too."""
    shared = LINE_KEYS.keys() & CHAT_FIELDS.keys()
    assert {"tools", "tool_choice"} <= shared
    for name in shared:
        for value in (None, True, False, "auto", "none", [], ["text"], {"type": "text"}, [{"some": "thing"}], "some"):
            if CHAT_FIELDS[name].asks_nothing(value) and not CHAT_FIELDS[name].is_hint:
                assert asks_nothing(value, LINE_KEYS[name]), (name, value)


LIMITS = [
    ({"n": 17}, "n is 17; the maximum is 16 (--max-choices)"),
    ({"stop": ["a"] * 17}, "stop has 17 entries; the maximum is 16 (--max-stop-strings)"),
    ({"prompt": ["a"] * 65}, "there are 65 prompts; the maximum is 64 (--max-prompts)"),
    ({"prompt": ["a"] * 64, "n": 3}, "the maximum is 128 (--max-sequences)"),
    ({"logprobs": 21}, "logprobs is 21; the maximum is 20 (--max-logprobs)"),
    ({"messages": [CHAT["messages"][0]] * 1025}, "there are 1025 messages; the maximum is 1024 (--max-messages)"),
    ({"input": ["a"] * 65}, "there are 65 inputs; allowed are 1 to 64 (--max-inputs)"),
    ({"input": "a", "labels": ["a"] * 1001}, "there are 1001 labels; the maximum is 1000 (--max-labels)"),
    ({"prompt": "a" * 5 * 1024**2}, "the maximum is 4194304 bytes (--max-body-bytes)"),
]


@pytest.mark.parametrize(("changes", "said"), LIMITS, ids=lambda value: str(value)[:40])
async def test_a_limit_names_the_option_that_raises_it(client, changes, said):
    """OpenAI's own limits are higher; the operator decides."""
    path = "/v1/completions"
    if "messages" in changes:
        path = "/v1/chat/completions"
    elif "input" in changes:
        path = "/v1/classify"
    body = (COMPLETION if path == "/v1/completions" else {"model": "tiny-base"}) | changes
    assert said in error_of(await client.post(path, json=body))["message"]
    option = said.partition("--")[2].partition(")")[0]
    assert option.replace("-", "_") in ServeSettings.model_fields
