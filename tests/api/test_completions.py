import pytest

from server.engine.errors import EngineOverloaded, EngineStopped
from tests.api.conftest import SENTIMENT, error_of, events_of, publish
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()
BASE = {"model": "tiny-base", "prompt": "What a film."}


def says(engine, *texts, end=True):
    """Let each choice of the engine say its text."""
    answers = [(*TOKENIZER.encode(text), *([TOKENIZER.eos_token_id] if end else [])) for text in texts]
    engine.script = lambda request, choice: answers[choice % len(answers)]


async def test_a_task_answers_with_its_version_in_the_headers(client, engine):
    """The prompt goes into the template, the soft prompt before it, and the headers say what answered."""
    version = (await publish(client)).json()
    response = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "What a film."})
    assert response.status_code == 200
    assert response.json()["choices"] == [{"index": 0, "text": " positive", "logprobs": None, "finish_reason": "stop"}]
    assert response.headers["x-softprompt-task"] == "sentiment"
    assert response.headers["x-softprompt-version"] == "1"
    assert response.headers["x-softprompt-digest"] == version["digest"]
    (request,) = engine.requests
    assert request.task == "sentiment"
    assert request.prefix.digest == version["prefix_digest"]
    assert request.prefix.num_virtual_tokens == 4
    assert TOKENIZER.decode(request.prompt_token_ids) == " What a film. ->"


async def test_the_base_model_answers_without_task_headers(client, engine):
    """By its id, or by any of its names; nothing is put around the prompt."""
    for name in ("tiny-base", "tiny/base-model"):
        response = await client.post("/v1/completions", json=BASE | {"model": name})
        assert response.status_code == 200
        assert not [header for header in response.headers if header.startswith("x-softprompt")]
        assert engine.requests[-1].prefix is None
        assert TOKENIZER.decode(engine.requests[-1].prompt_token_ids) == "What a film."


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a b", [TOKENIZER.encode("a b")]),
        (["a", "b"], [TOKENIZER.encode("a"), TOKENIZER.encode("b")]),
        ([5, 6], [(5, 6)]),
        ([[5, 6], [7]], [(5, 6), (7,)]),
    ],
)
async def test_a_prompt_has_four_forms(client, engine, prompt, expected):
    """A text, texts, ids, or lists of ids; every prompt becomes a request of its own."""
    response = await client.post("/v1/completions", json=BASE | {"prompt": prompt})
    assert [request.prompt_token_ids for request in engine.requests] == expected
    assert [choice["index"] for choice in response.json()["choices"]] == list(range(len(expected)))


async def test_token_ids_bypass_the_template(client, engine):
    """Who sends ids has put together the prompt."""
    await publish(client)
    await client.post("/v1/completions", json={"model": "sentiment", "prompt": [5, 6]})
    assert engine.requests[0].prompt_token_ids == (5, 6)
    assert engine.requests[0].prefix is not None


async def test_choices_are_numbered_through_all_prompts(client, engine):
    """With n = 2 and two prompts there are four answers, those to the first prompt first."""
    says(engine, " one", " two")
    response = await client.post("/v1/completions", json=BASE | {"prompt": ["a", "b"], "n": 2})
    choices = response.json()["choices"]
    assert [(choice["index"], choice["text"]) for choice in choices] == [
        (0, " one"), (1, " two"), (2, " one"), (3, " two"),
    ]  # fmt: skip


async def test_parameters_reach_the_engine(client, engine):
    """Every generation parameter is passed on as it was sent."""
    parameters = {
        "max_tokens": 7, "min_tokens": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 11,
        "ignore_eos": True, "presence_penalty": 0.2, "frequency_penalty": -0.3, "repetition_penalty": 1.1,
    }  # fmt: skip
    more = {"logit_bias": {"5": 2, "6": -1.5}, "stop_token_ids": [9], "logprobs": 3, "user": "u", "store": True,
            "metadata": {"a": 1}}  # fmt: skip
    assert (await client.post("/v1/completions", json=BASE | parameters | more)).status_code == 200
    sampling = engine.requests[0].kind.sampling
    assert {name: getattr(sampling, name) for name in parameters} == parameters
    assert sampling.logit_bias == ((5, 2.0), (6, -1.5))
    assert sampling.stop_token_ids == {9}
    assert (sampling.num_logprobs, sampling.prompt_logprobs) == (3, None)


async def test_the_requests_value_goes_before_the_versions_and_that_before_ours(client, engine):
    """Null counts as left out."""
    await publish(client, manifest={"defaults": {"temperature": 0.25, "max_tokens": 5, "top_k": 3, "min_tokens": 4}})
    body = {"model": "sentiment", "prompt": "a", "temperature": 0.5, "top_k": None}
    await client.post("/v1/completions", json=body)
    sampling = engine.requests[0].kind.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.top_k, sampling.top_p) == (0.5, 5, 3, 1.0)
    await client.post("/v1/completions", json=body | {"max_tokens": 2})
    assert (engine.requests[1].kind.sampling.max_tokens, engine.requests[1].kind.sampling.min_tokens) == (2, 2)
    await client.post("/v1/completions", json=BASE)
    assert engine.requests[2].kind.sampling.max_tokens == 16


async def test_text_ends_before_a_stop_string(client, engine):
    """Found across token borders, cut off, and the engine told to stop; the version's stop strings count too."""
    says(engine, " one. Two\n\nQ: three four", end=False)
    response = await client.post("/v1/completions", json=BASE | {"max_tokens": 90, "stop": ["\n\nQ:", "never"]})
    assert response.json()["choices"][0] == {
        "index": 0, "text": " one. Two", "logprobs": None, "finish_reason": "stop",
    }  # fmt: skip
    assert (engine.requests[0].request_id, 0) in engine.aborted
    await publish(client, manifest={"stop": [". T"]})
    response = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "a", "max_tokens": 90})
    assert response.json()["choices"][0]["text"] == " one"


async def test_a_stop_string_does_not_count_before_min_tokens(client, engine):
    """Within the first tokens it is text like any other, and behind them it ends the answer."""
    says(engine, "aa bb aa", end=False)
    body = BASE | {"max_tokens": 90, "stop": "aa", "min_tokens": len(TOKENIZER.encode("aa"))}
    response = await client.post("/v1/completions", json=body)
    assert response.json()["choices"][0]["text"] == "aa bb "


async def test_max_tokens_ends_with_length(client, engine):
    """The finish reason says so; zero tokens are allowed."""
    response = await client.post("/v1/completions", json=BASE | {"max_tokens": 1})
    assert response.json()["choices"][0]["finish_reason"] == "length"
    response = await client.post("/v1/completions", json=BASE | {"max_tokens": 0, "echo": True})
    assert response.json()["choices"][0] == {
        "index": 0, "text": "What a film.", "logprobs": None, "finish_reason": "length",
    }  # fmt: skip
    assert response.json()["usage"]["completion_tokens"] == 0


async def test_usage_counts_text(client, engine):
    """Virtual and cached tokens are beside the prompt's; a prompt counts once however many answers it gets."""
    await publish(client)
    engine.num_cached_tokens = 3
    body = {"model": "sentiment", "prompt": ["a", "b"], "n": 2}
    usage = (await client.post("/v1/completions", json=body)).json()["usage"]
    num_prompt = len(TOKENIZER.encode(" a ->")) + len(TOKENIZER.encode(" b ->"))
    num_completion = 4 * (len(TOKENIZER.encode(" positive")) + 1)
    assert usage == {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_completion,
        "total_tokens": num_prompt + num_completion,
        "prompt_tokens_details": {"cached_tokens": 6, "virtual_tokens": 8},
    }


async def test_logprobs_are_four_parallel_lists(client, engine):
    """Offsets point into the text; the end token, which has no text, is not among the tokens."""
    response = await client.post("/v1/completions", json=BASE | {"logprobs": 2})
    choice = response.json()["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"] == " positive"
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)
    assert logprobs["token_logprobs"] == [-0.5] * len(logprobs["tokens"])
    assert all(len(top) == 2 for top in logprobs["top_logprobs"])
    response = await client.post("/v1/completions", json=BASE | {"logprobs": 0})
    assert response.json()["choices"][0]["logprobs"]["top_logprobs"] == [{token: -0.5} for token in logprobs["tokens"]]


async def test_logprobs_leave_out_what_a_stop_string_cut_off(client, engine):
    """Tokens and text agree."""
    says(engine, " one two STOP three", end=False)
    body = BASE | {"logprobs": 0, "stop": "STOP", "max_tokens": 90}
    choice = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    assert choice["text"] == " one two "
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]


async def test_echo_begins_with_the_prompt_as_the_model_saw_it(client, engine):
    """Its tokens come first among the log-probabilities, the very first one without; offsets run through."""
    await publish(client)
    body = {"model": "sentiment", "prompt": "a film", "echo": True, "logprobs": 1}
    choice = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    assert choice["text"] == " a film -> positive"
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    offset = 0
    for token, start in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert start == offset
        offset += len(token)
    assert engine.requests[0].kind.sampling.prompt_logprobs == 1


async def test_token_ids_are_returned_on_request(client):
    """Those of the prompt and those generated, the end token included."""
    choice = (await client.post("/v1/completions", json=BASE | {"return_token_ids": True})).json()["choices"][0]
    assert choice["prompt_token_ids"] == list(TOKENIZER.encode("What a film."))
    assert choice["token_ids"] == [*TOKENIZER.encode(" positive"), TOKENIZER.eos_token_id]


@pytest.mark.parametrize("extra", [{}, {"logprobs": 1}, {"echo": True, "logprobs": 0}, {"n": 2, "stop": "tive"},
                                   {"return_token_ids": True}])  # fmt: skip
async def test_a_stream_adds_up_to_the_body(client, extra):
    """What a stream says piece by piece is what the body says at once."""
    await publish(client)
    body = {"model": "sentiment", "prompt": ["a film", "b"]} | extra
    whole = (await client.post("/v1/completions", json=body)).json()
    response = await client.post(
        "/v1/completions", json=body | {"stream": True, "stream_options": {"include_usage": True}}
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-softprompt-task"] == "sentiment"
    assert response.headers["x-request-id"]
    *chunks, last, done = events_of(response.text)
    assert done == "[DONE]"
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert all(chunk["usage"] is None for chunk in chunks)
    for choice in whole["choices"]:
        pieces = [piece for chunk in chunks for piece in chunk["choices"] if piece["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in pieces) == choice["text"]
        assert [piece["finish_reason"] for piece in pieces if piece["finish_reason"]] == [choice["finish_reason"]]
        for field in ("tokens", "token_logprobs", "top_logprobs", "text_offset") if choice["logprobs"] else ():
            assert [x for piece in pieces for x in piece["logprobs"][field]] == choice["logprobs"][field]
        assert [x for piece in pieces for x in piece.get("token_ids") or ()] == choice.get("token_ids", [])


async def test_an_engine_failure_is_a_500_without_its_words(client, engine):
    """The cause is for logs."""
    engine.fail_after = 1
    response = await client.post("/v1/completions", json=BASE)
    assert response.status_code == 500
    assert error_of(response)["code"] == "engine_failed"
    assert "secret" not in response.text


async def test_an_engine_failure_in_a_stream_is_its_last_event(client, engine):
    """The error body follows what was said; there is no [DONE]."""
    engine.fail_after = 1
    response = await client.post("/v1/completions", json=BASE | {"stream": True})
    first, last = events_of(response.text)
    assert first["choices"][0]["text"]
    assert last["error"]["code"] == "engine_failed"
    assert "secret" not in response.text


async def test_when_one_prompt_fails_the_others_are_ended(client, engine):
    """Nothing goes on running for an answer that nobody gets."""
    engine.fail_after = 1
    await client.post("/v1/completions", json=BASE | {"prompt": ["a", "b", "c"]})
    assert not engine.unfinished


async def test_a_full_queue_is_429_with_retry_after(client, engine):
    """The openai client waits and tries again."""
    engine.refuse = EngineOverloaded("full")
    response = await client.post("/v1/completions", json=BASE)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert error_of(response)["type"] == "rate_limit_error"


async def test_a_stopped_engine_is_503(client, engine):
    """Requests and readiness say so."""
    engine.refuse, engine.is_alive = EngineStopped("stopped"), False
    assert error_of(await client.post("/v1/completions", json=BASE))["code"] == "engine_stopped"
    for path in ("/health", "/ready"):
        assert (await client.get(path)).status_code == 503


async def test_a_prompt_that_the_engine_refuses_ends_those_before_it(client, engine):
    """All prompts of a request run, or none."""
    response = await client.post("/v1/completions", json=BASE | {"prompt": ["a", "b" * 600]})
    assert (response.status_code, error_of(response)["code"]) == (400, "context_exceeded")
    assert not engine.unfinished


async def test_a_moved_alias_does_not_alter_a_running_request(client, engine, services):
    """A request is resolved once; the next one gets the new version."""
    await publish(client, manifest=SENTIMENT)
    await client.post("/v1/completions", json={"model": "sentiment", "prompt": "a"})
    second = (await publish(client, manifest=SENTIMENT | {"template": "{input}?"}, seed=1, promote=True)).json()
    response = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "a"})
    assert response.headers["x-softprompt-version"] == "2"
    assert engine.requests[-1].prefix.digest == second["prefix_digest"]
    assert engine.requests[0].prefix.digest != second["prefix_digest"]
    response = await client.post("/v1/completions", json={"model": "sentiment@1", "prompt": "a"})
    assert response.headers["x-softprompt-version"] == "1"
