"""The stock `openai` client against a running server: completions, chat, streams, log-probabilities, errors."""

import json

import httpx
import openai
import pytest

from server.api.access.key_ring import KeyRing
from server.engine.errors import EngineOverloaded
from tests.api.conftest import SENTIMENT
from tests.api.live_server import live_server
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import byte_level

KEY = "sk-test"
TASK = {"model": "sentiment", "prompt": "What a film."}
CHAT = {"model": "sentiment", "messages": [{"role": "user", "content": "What a film."}]}


@pytest.fixture
def openai_client(services):
    with (
        live_server(with_parts(services, keys=KeyRing(services.store_access.store, KEY))) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        response = httpx.post(
            f"{url}/v1/tasks/sentiment/versions",
            files={name: (name, data) for name, data in prompt_tuning_files().items()},
            data={"manifest": json.dumps(SENTIMENT)},
            headers={"authorization": f"Bearer {KEY}"},
        )
        assert response.status_code == 201
        yield client


def test_completions(openai_client):
    """Text, reason, usage with our details, and the request id."""
    completion = openai_client.completions.create(**TASK, logprobs=2, n=2, seed=1, stop=["\n"])
    assert [choice.text for choice in completion.choices] == [" positive", " positive"]
    assert completion.choices[0].finish_reason == "stop"
    assert "".join(completion.choices[0].logprobs.tokens) == " positive"
    assert completion.usage.prompt_tokens_details.virtual_tokens == 4
    assert completion._request_id.startswith("req-")


def test_parameters_of_ours_go_into_the_extra_body(openai_client):
    """That is how the client sends what OpenAI does not have."""
    completion = openai_client.completions.create(**TASK, extra_body={"top_k": 1, "return_token_ids": True})
    assert completion.choices[0].token_ids[-1] == byte_level().eos_token_id


def test_a_completion_streams(openai_client):
    """The pieces join to the text; the last chunk has the usage."""
    stream = openai_client.completions.create(**TASK, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == " positive"
    assert chunks[-1].usage.completion_tokens > 0


def test_chat(openai_client):
    """With log-probabilities."""
    completion = openai_client.chat.completions.create(**CHAT, logprobs=True, top_logprobs=2, max_completion_tokens=9)
    (choice,) = completion.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", " positive", "stop")
    assert b"".join(bytes(token.bytes) for token in choice.logprobs.content) == b" positive"
    assert len(choice.logprobs.content[0].top_logprobs) == 2


def test_chat_streams_into_the_clients_own_accumulator(openai_client):
    """Which checks the order of the chunks."""
    with openai_client.chat.completions.stream(**CHAT) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == " positive"
    assert final.choices[0].finish_reason == "stop"


def test_models(openai_client):
    """Listed and found, slashes included."""
    assert [model.id for model in openai_client.models.list()] == ["tiny-base", "sentiment"]
    assert openai_client.models.retrieve("tiny/base-model").id == "tiny-base"


def test_errors_become_the_clients_own(openai_client, engine):
    """By status, with code and param."""
    with pytest.raises(openai.NotFoundError) as missing:
        openai_client.completions.create(model="unknown", prompt="a")
    assert missing.value.code == "task_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        openai_client.completions.create(**TASK, temperature=5)
    assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.AuthenticationError):
        openai_client.with_options(api_key="wrong").models.list()
    engine.refuse = EngineOverloaded("full")
    with pytest.raises(openai.RateLimitError):
        openai_client.completions.create(**TASK)


def test_responses_are_not_offered_and_the_client_says_what_is(openai_client):
    """Its error has the sentence that names the route to use."""
    for ask in (
        lambda: openai_client.responses.create(model="sentiment", input="What a film."),
        lambda: openai_client.responses.retrieve("resp_1"),
    ):
        with pytest.raises(openai.NotFoundError, match="Responses are not offered: use POST /v1/chat/completions"):
            ask()


def test_a_failure_in_a_stream_is_raised(openai_client, engine):
    """The error event ends the stream."""
    engine.fail_after = 1
    with pytest.raises(openai.APIError, match="engine failed"):
        list(openai_client.completions.create(**TASK, stream=True))


def test_a_client_that_leaves_ends_its_stream(openai_client, engine):
    """Over a real socket too."""
    engine.script = lambda request, choice: [5] * 200
    engine.gate.clear()
    stream = openai_client.chat.completions.create(**CHAT, stream=True)
    next(stream)
    assert engine.unfinished
    stream.close()
    for _ in range(500):
        if not engine.unfinished:
            break
        openai_client.models.list()
    assert not engine.unfinished
