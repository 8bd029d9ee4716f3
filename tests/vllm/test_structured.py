"""Answers that must have a form, from the whole server on vLLM's engine: what is sent, kept, streamed and refused."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import jsonschema
import openai
import pytest

import tests.system.server_process as server_process
from tests.system.live_server import checkpoint, publish
from tests.system.server_process import ServerProcess
from tests.vllm.environment import WITHOUT_COMPILER

HIDDEN_SIZE = 256
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["label", "stars"],
    "additionalProperties": False,
}
REGEX = r"\d{4}-\d{2}(-\d{2})?"
FORMS = [
    {"json": SCHEMA},
    {"regex": REGEX},
    {"choice": ["yes", "no", "yes and no"]},
    {"grammar": 'start: "(" start ")" | "x"'},
    {"grammar": 'root ::= ("ab" | "c"){1,3} "d"'},
]
HOSTILE = [
    {"json": {"properties": {"a": {"unevaluatedItems": False}}}},
    {"json": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#"}}}},
    {"json": {"enum": list(range(5000))}},
    {"json": {"type": "string", "minLength": 20_000}},
    {"regex": "(" * 4000},
    {"regex": "(?<=a)b"},
    {"choice": []},
    {"grammar": "start: " + "(/a{0,99}/ | /b/)? " * 3_000},
    {"grammar": "%llguidance {}\nstart: /a/"},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The demo's base model."""
    folder = tmp_path_factory.mktemp("structured")
    server_process.START_TIMEOUT_S = 600.0
    options = {"engine": "vllm", "vllm_args": "enforce_eager=true", "kv_cache_gib": 0.25, "data_dir": folder / "data"}
    with ServerProcess(folder / "log", environment=WITHOUT_COMPILER, **options) as server:
        assert server.url
        yield server
        print(server.log.read_text()[-1500:])


@pytest.fixture
def client(server):
    """A client of the server."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def ask(client, model="sentiment", **body):
    """A completion that succeeds."""
    asked = {"model": model, "prompt": "A lovely film", "max_tokens": 160} | body
    response = client.post("/v1/completions", json=asked)
    assert response.status_code == 200, response.text
    return response.json()


def fits(form, text):
    """Whether a text has a form."""
    if "json" in form:
        jsonschema.validate(json.loads(text), form["json"])
        return True
    if "choice" in form:
        return text in form["choice"]
    pattern = form.get("regex") or (r"\(*x\)*" if "start" in form["grammar"] else "(ab|c){1,3}d")
    return re.fullmatch(pattern, text) is not None and text.count("(") == text.count(")")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: next(iter(form)))
def test_answers_have_their_form(client, form):
    """Greedy and sampled, two choices, behind a soft prompt and without one, and an answer ends with its form."""
    base = client.get("/version").json()["base_model"]["id"]
    ended = 0
    for model in ("sentiment", base):
        for temperature in (0, 1):
            answer = ask(client, model, structured_outputs=form, temperature=temperature, n=2, seed=5, logprobs=2)
            for choice in answer["choices"]:
                if choice["finish_reason"] == "stop":
                    ended += 1
                    assert fits(form, choice["text"]), choice["text"]
    assert ended >= 4


def test_a_stream_is_the_whole_answer(server, client):
    """OpenAI's client streams a schema: the pieces are the text that comes at once."""
    fields = {"response_format": {"type": "json_schema", "json_schema": {"name": "opinion", "schema": SCHEMA}}}
    whole = ask(client, seed=3, temperature=1, **fields)["choices"][0]["text"]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as stock:
        chunks = stock.completions.create(
            model="sentiment", prompt="A lovely film", max_tokens=160, seed=3, temperature=1, stream=True,
            extra_body=fields,
        )  # fmt: skip
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole
    assert fits({"json": SCHEMA}, whole)


def test_a_version_keeps_its_form(client):
    """Until a request names another one."""
    manifest = {"defaults": {"structured_outputs": {"choice": ["yes", "no"]}, "max_tokens": 20}}
    publish(client, "kept", checkpoint(3, 4, HIDDEN_SIZE), manifest=manifest)
    assert ask(client, "kept")["choices"][0]["text"] in ("yes", "no")
    assert fits({"regex": REGEX}, ask(client, "kept", structured_outputs={"regex": REGEX})["choices"][0]["text"])


def test_neighbours_get_what_they_get_alone(client):
    """Requests without a form, in one batch with all forms."""
    plain = {"temperature": 0, "max_tokens": 30, "ignore_eos": True}
    prompts = [f"The film number {number} is" for number in range(6)]
    alone = [ask(client, prompt=prompt, **plain)["choices"][0]["text"] for prompt in prompts]
    with ThreadPoolExecutor(12) as callers:
        beside = [
            callers.submit(ask, client, structured_outputs=form, temperature=1, n=3) for form in (*FORMS, FORMS[0])
        ]
        again = [callers.submit(ask, client, prompt=prompt, **plain) for prompt in prompts]
        assert [one.result()["choices"][0]["text"] for one in again] == alone
        assert all(one.result()["choices"] for one in beside)


def test_an_answer_ends_with_its_form(client):
    """Without an end token, whatever else the request says."""
    form = {"regex": "abcdef"}
    answer = ask(client, structured_outputs=form, ignore_eos=True, min_tokens=40, logit_bias={"5": 20})
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("abcdef", "stop")
    stopped = ask(client, structured_outputs=form, stop=["cd"])["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == ("ab", "stop")
    cut = ask(client, structured_outputs={"regex": "a{300}"}, max_tokens=3)["choices"][0]
    assert cut["finish_reason"] == "length" and set(cut["text"]) == {"a"}


def test_hostile_forms_are_refused_and_harm_nobody(client):
    """Each gets a 400 that names its field, and vLLM's engine never sees it."""
    for form in HOSTILE:
        body = {"model": "sentiment", "prompt": "x", "structured_outputs": form}
        response = client.post("/v1/completions", json=body)
        assert response.status_code == 400, (form, response.text)
        assert response.json()["error"]["param"].startswith("structured_outputs")
    refused = {"structured_outputs": HOSTILE[0], "model": "sentiment", "prompt": "x"}
    assert "unevaluatedItems" in client.post("/v1/completions", json=refused).json()["error"]["message"]
    assert client.get("/health").status_code == 200
    assert ask(client, structured_outputs={"choice": ["yes"]})["choices"][0]["text"] == "yes"
