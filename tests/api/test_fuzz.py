"""Whatever a client sends, the answer is one that the document names, and never a failure of ours."""

import asyncio
import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.app import create_app
from server.engine.request import Generate
from tests.api.conftest import error_of
from tests.fakes.tokenizers import byte_level

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
small = st.integers(-2, 5) | st.none()
real = st.floats(-3, 3) | st.none()
plausible = {
    "max_tokens": small, "min_tokens": small, "temperature": real, "top_p": real, "top_k": small, "min_p": real,
    "n": small, "seed": st.integers() | st.none(), "stop": st.text(max_size=3) | st.lists(st.text(max_size=3)),
    "stop_token_ids": st.lists(st.integers(-1, 400), max_size=3), "ignore_eos": st.booleans(),
    "logit_bias": st.dictionaries(st.sampled_from(["1", "370", "x", "-1"]), st.floats(-120, 120), max_size=2),
    "presence_penalty": real, "frequency_penalty": real, "repetition_penalty": real, "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}) | st.none(),
    "return_token_ids": st.booleans(), "user": st.text(max_size=3), "surprise": st.none(),
}  # fmt: skip
prompts = st.text(max_size=5) | st.lists(st.text(max_size=5)) | st.lists(st.integers(-1, 400)) | json_values
COMPLETION = st.fixed_dictionaries(
    {"model": st.just("tiny-base"), "prompt": prompts},
    optional=plausible | {"echo": st.booleans(), "logprobs": small},
)
CHAT = st.fixed_dictionaries(
    {
        "model": st.just("tiny-base"),
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": st.text(max_size=5)})
        )
        | json_values,
    },
    optional=plausible | {"logprobs": st.booleans(), "top_logprobs": small, "max_completion_tokens": small},
)
CLASSIFY = st.fixed_dictionaries(
    {"model": st.just("tiny-base"), "input": st.text(max_size=5) | st.lists(st.text(max_size=5)) | json_values},
    optional={"labels": st.lists(st.text(max_size=3)) | json_values},
)
TASK = st.fixed_dictionaries({"name": st.text(max_size=5) | json_values}, optional={"description": json_values})
ROUTES = {
    "/v1/completions": COMPLETION,
    "/v1/chat/completions": CHAT,
    "/v1/classify": CLASSIFY,
    "/v1/tasks": TASK,
    "/tokenize": st.fixed_dictionaries({"model": st.just("tiny-base"), "prompt": st.text(max_size=5) | json_values}),
    "/detokenize": st.fixed_dictionaries(
        {"model": st.just("tiny-base"), "tokens": st.lists(st.integers(-1, 400)) | json_values}
    ),
}


@pytest.fixture
def app(services):
    """One application for all examples of a test."""
    return create_app(services)


@pytest.mark.parametrize("path", ROUTES)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_body_makes_the_server_fail(app, engine, path, data):
    """Either it is answered, or refused with a 4xx that names what is wrong; the engine is never handed nonsense."""
    content = json.dumps(data.draw(ROUTES[path] | json_values))

    async def post():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.post(path, content=content, headers={"content-type": "application/json"})

    response = asyncio.run(post())
    if response.status_code >= 300:
        assert response.status_code in (400, 404, 409)
        error = error_of(response)
        assert error["message"]
        assert error["code"] not in ("request_refused", "internal_error")
    elif "text/event-stream" in response.headers["content-type"]:
        assert response.text.endswith("data: [DONE]\n\n")
    else:
        json.loads(response.content)
    assert not engine.unfinished
    for request in engine.requests:
        assert all(0 <= token_id < byte_level().vocab_size for token_id in request.prompt_token_ids)
        if isinstance(request.kind, Generate):
            assert request.kind.sampling.min_tokens <= request.kind.sampling.max_tokens
            assert 0 < request.kind.sampling.top_p <= 1
    engine.requests.clear()
