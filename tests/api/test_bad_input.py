"""Bad input of every kind gets the one error body, names its parameter, and never reaches the engine."""

import asyncio
import json

import pytest

from tests.api.conftest import error_of, publish

COMPLETION = {"model": "tiny-base", "prompt": "a"}
CHAT = {"model": "tiny-base", "messages": [{"role": "user", "content": "a"}]}
CLASSIFY = {"model": "tiny-base", "input": "a", "labels": ["x", "y"]}
TOKENIZE = {"model": "tiny-base", "prompt": "a"}
DETOKENIZE = {"model": "tiny-base", "tokens": [1]}
BODIES = {
    "/v1/completions": COMPLETION,
    "/v1/chat/completions": CHAT,
    "/v1/classify": CLASSIFY,
    "/tokenize": TOKENIZE,
    "/detokenize": DETOKENIZE,
    "/v1/tasks": {"name": "x"},
}

SAMPLING = [
    ("max_tokens", -2),
    ("max_tokens", "5"),
    ("max_tokens", 1.5),
    ("max_tokens", True),
    ("max_tokens", 10**30),
    ("min_tokens", -1),
    ("min_tokens", 400),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "hot"),
    ("top_p", -0.1),
    ("top_p", 1.1),
    ("top_k", -2),
    ("min_p", -0.1),
    ("min_p", 1.5),
    ("n", 0),
    ("n", 17),
    ("seed", 2**64),
    ("seed", 1.5),
    ("presence_penalty", 2.5),
    ("frequency_penalty", -2.5),
    ("repetition_penalty", 0),
    ("repetition_penalty", 11),
    ("stop", 5),
    ("stop", ["a", ""]),
    ("stop", ["a"] * 17),
    ("stop", "a" * 257),
    ("stop_token_ids", "5"),
    ("stop_token_ids", list(range(65))),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {"1": 101}),
    ("logit_bias", {str(number): 1 for number in range(1025)}),
    ("stream", "yes"),
    ("user", 5),
    ("metadata", "x"),
    ("model", ""),
    ("model", 5),
    ("model", "m" * 257),
]
CASES = [
    *[("/v1/completions", COMPLETION | {name: value}, name) for name, value in SAMPLING],
    *[("/v1/chat/completions", CHAT | {name: value}, name) for name, value in SAMPLING],
    ("/v1/completions", COMPLETION | {"prompt": []}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": ""}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": [[]]}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": None}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": ["a", 5]}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": [1.5]}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": [True]}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": ["a"] * 65}, "prompt"),
    ("/v1/completions", COMPLETION | {"prompt": ["a"] * 64, "n": 3}, "n"),
    ("/v1/completions", COMPLETION | {"logprobs": 21}, "logprobs"),
    ("/v1/completions", COMPLETION | {"logprobs": True}, "logprobs"),
    ("/v1/completions", COMPLETION | {"echo": 1}, "echo"),
    ("/v1/chat/completions", CHAT | {"messages": []}, "messages"),
    ("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": "a"}] * 1025}, "messages"),
    ("/v1/chat/completions", CHAT | {"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ("/v1/chat/completions", CHAT | {"messages": [{"role": "user"}]}, "messages[0].content"),
    ("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
     "messages[0].content"),
    ("/v1/chat/completions", CHAT | {"logprobs": 5}, "logprobs"),
    ("/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ("/v1/chat/completions", CHAT | {"top_logprobs": 1}, "top_logprobs"),
    ("/v1/completions", {"prompt": "a"}, "model"),
    ("/v1/classify", {"model": "tiny-base"}, "input"),
    ("/tokenize", TOKENIZE | {"prompt": 5}, "prompt"),
    ("/detokenize", DETOKENIZE | {"tokens": "x"}, "tokens"),
    ("/detokenize", DETOKENIZE | {"tokens": [-1]}, "tokens[0]"),
    ("/v1/tasks", {"name": 5}, "name"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "param"), CASES, ids=lambda value: str(value)[:60])
async def test_a_bad_value_is_a_400_that_names_its_parameter(client, engine, path, body, param):
    """Whatever the route."""
    response = await client.post(path, json=body)
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param or error["param"].startswith(f"{param}.")
    assert not engine.requests


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", {"prompt": ""}, "prompt"),
        ("/v1/completions", {"prompt": ["a", ""]}, "prompt"),
        ("/v1/classify", {"input": ["a", ""]}, "input"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": ""}]}, "messages"),
    ],
)
async def test_an_empty_text_is_refused_behind_a_template_too(client, engine, path, body, param):
    """The template alone would be a prompt, and its answer noise."""
    await publish(client)
    error = error_of(await client.post(path, json={"model": "sentiment", **body}))
    assert (error["message"], error["param"]) == ("the text is empty: send at least one character", param)
    assert not engine.requests


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_that_are_none_are_refused(client, value):
    """Python's JSON reads them; we do not."""
    text = json.dumps(COMPLETION)[:-1] + f', "temperature": {value}}}'
    response = await client.post("/v1/completions", content=text, headers={"content-type": "application/json"})
    assert (response.status_code, error_of(response)["param"]) == (400, "temperature")


@pytest.mark.parametrize("name", ["tools", "best_of", "suffix", "tool_choice", "functions"])
async def test_a_known_parameter_without_support_says_so(client, name):
    """Better than an answer that ignores it."""
    for path in ("/v1/completions", "/v1/chat/completions"):
        error = error_of(await client.post(path, json=BODIES[path] | {name: 2}))
        assert (error["code"], error["param"]) == ("unsupported_parameter", name)
        assert "not supported" in error["message"]


@pytest.mark.parametrize("path", BODIES)
async def test_an_unknown_parameter_is_named(client, path):
    """A typing error never passes silently."""
    error = error_of(await client.post(path, json=BODIES[path] | {"temprature": 1}))
    assert (error["code"], error["param"]) == ("unknown_parameter", "temprature")


@pytest.mark.parametrize("name", ["<script>", "x" * 500, "a b\n", "\ud800"])
async def test_a_parameters_name_is_repeated_only_if_it_is_plain(client, name):
    """What a client sends is not echoed."""
    content, headers = json.dumps(COMPLETION | {name: 1}), {"content-type": "application/json"}
    response = await client.post("/v1/completions", content=content, headers=headers)
    assert response.status_code == 400
    assert name not in error_of(response)["message"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_body"),
        (b"\xff\xfe", "application/json", 400, "malformed_body"),
        (b"[" * 100_000, "application/json", 400, "malformed_body"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "application/json", 400, "malformed_body"),
        (b"[]", "application/json", 400, "invalid_value"),
        (b"null", "application/json", 400, "invalid_value"),
        (b"", "application/json", 400, "missing_parameter"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(client, path, content, content_type, status, code):
    """By what is wrong with it."""
    response = await client.post(path, content=content, headers={"content-type": content_type})
    assert (response.status_code, error_of(response)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("unknown", "task_not_found"),
        ("sentiment@7", "version_not_found"),
        ("sentiment@canary", "alias_not_found"),
        ("Not/A Name", "model_not_found"),
        ("sentiment@", "model_not_found"),
        ("sentiment@01", "model_not_found"),
        ("../etc/passwd", "model_not_found"),
    ],
)
async def test_what_model_does_not_name_is_a_404(client, model, code):
    """On every route that takes one."""
    await publish(client)
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/classify", "/tokenize", "/detokenize"):
        response = await client.post(path, json=BODIES[path] | {"model": model})
        error = error_of(response)
        assert (response.status_code, error["code"], error["param"]) == (404, code, "model"), path
    response = await client.get(f"/v1/models/{model.replace('../', '%2e%2e/')}")
    assert (response.status_code, error_of(response)["code"]) == (404, code)


@pytest.mark.parametrize("name", ["UPPER", "-x", "x-", "a" * 65, "a@b", "a b", "%00", "a%2fb%0a"])
@pytest.mark.parametrize("route", ["", "/versions", "/versions/1", "/aliases", "/aliases/canary"])
async def test_a_name_outside_the_pattern_is_refused(client, name, route):
    """Wherever it stands in a path."""
    response = await client.get(f"/v1/tasks/{name}{route}")
    assert response.status_code in (400, 404)
    error_of(response)


@pytest.mark.parametrize("version", ["0", "-1", "abc", "1.5", str(2**31)])
async def test_a_version_is_a_number(client, version):
    """From 1 up."""
    await publish(client)
    response = await client.get(f"/v1/tasks/sentiment/versions/{version}")
    assert (response.status_code, error_of(response)["param"]) == (400, "version")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
async def test_a_page_has_a_size(client, query):
    """Within the limit."""
    response = await client.get(f"/v1/tasks?{query}")
    assert (response.status_code, error_of(response)["param"]) == (400, "limit")


async def test_token_ids_outside_the_vocabulary_are_refused(client, engine):
    """Before the tokenizer or the engine sees them."""
    for path, change in (("/v1/completions", {"prompt": [99_999]}), ("/detokenize", {"tokens": [99_999]})):
        response = await client.post(path, json=BODIES[path] | change)
        assert (response.status_code, error_of(response)["code"]) == (400, "token_out_of_range")
    assert not engine.requests


@pytest.mark.parametrize(
    ("path", "body", "param"), [("/v1/completions", COMPLETION, "prompt"), ("/detokenize", DETOKENIZE, "tokens")]
)
async def test_more_token_ids_than_any_context_holds_are_refused(client, engine, path, body, param):
    """Each costs the event loop time before it is known what the list is for."""
    response = await client.post(path, json=body | {param: [1] * (2**20 + 1)})
    assert response.status_code == 400, response.text
    assert error_of(response)["param"].startswith(param)
    assert not engine.requests


async def test_half_a_surrogate_pair_is_refused(client, engine):
    """It is no text that a tokenizer or a JSON answer could hold."""
    content = b'{"model": "tiny-base", "prompt": "a \\ud800", "labels": ["x"], "input": "\\ud800"}'
    for path in ("/v1/completions", "/v1/classify", "/tokenize"):
        response = await client.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code == 400
        error_of(response)
    assert not engine.requests


async def test_unknown_routes_and_methods_have_the_error_body(client):
    """Like everything else."""
    response = await client.get("/nowhere")
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")
    response = await client.get("/v1/completions")
    assert (response.status_code, error_of(response)["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    response = await client.get("/v1/tasks/")
    assert response.status_code == 404


async def test_a_failure_of_ours_is_a_500_that_tells_nothing(client, services, monkeypatch):
    """No trace, no foreign words; the request id leads to the log."""
    monkeypatch.setattr(type(services.store_access.store), "get_task", lambda *_: 1 / 0)
    response = await client.get("/v1/tasks/x", headers={"x-request-id": "mine-1"})
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal_error"
    assert "division" not in response.text
    assert response.headers["x-request-id"] == "mine-1"


async def test_a_body_over_the_limit_is_refused_while_it_streams(limited):
    """With its length declared or not; the upload has a limit of its own."""

    async def chunks():
        for _ in range(100):
            yield b" " * 100

    async with limited(max_body_bytes=1_000) as client:
        headers = {"content-type": "application/json"}
        for content in (b" " * 2_000, chunks()):
            response = await client.post("/v1/completions", content=content, headers=headers)
            assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")
        assert (await publish(client)).status_code == 201


async def test_an_upload_over_its_limits_is_refused(limited):
    """Each file, the manifest, and the whole."""
    async with limited(max_config_bytes=1_000, max_tensor_bytes=1_000, max_manifest_bytes=1_000) as client:
        for part in ("adapter_config", "adapter_model"):
            response = await publish(client, **{part: b"x" * 2_000})
            assert (response.status_code, error_of(response)["param"]) == (413, part)
        assert (await publish(client, manifest={"note": "x" * 2_000})).status_code == 400
        response = await publish(client, adapter_model=b"x" * 100_000)
        assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")


async def test_a_body_that_stalls_is_given_up(limited):
    """A socket does not stay open for good."""

    async def stalled():
        yield b"{"
        await asyncio.sleep(30)

    async with limited(body_timeout_s=0.05) as client:
        response = await client.post("/v1/completions", content=stalled(), headers={"content-type": "application/json"})
        assert (response.status_code, error_of(response)["code"]) == (408, "body_timeout")
