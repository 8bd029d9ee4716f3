"""The commands' side of HTTP: what is sent, and what becomes of every kind of answer."""

import json
import os
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from prompts_store.checkpoint.left_out import FileEntries
from prompts_store.checkpoint.safetensors_header import BytesSource, Entry
from prompts_store.errors import InvalidFolder, InvalidName
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.records import Alias, AliasTarget
from server.cli import connection as connection_module
from server.cli.connection import connect
from server.cli.errors import ServerRefused, ServerUnreachable, UsageProblem
from server.cli.generate import texts
from server.cli.tasks.ensemble_folder import publish_folder
from server.cli.tasks.http_backend import HttpTaskBackend
from server.cli.tasks.publication import CheckpointFiles, Publication, PublishResult

NOW = "2026-01-02T03:04:05Z"
ALIAS = "/v1/tasks/sentiment/aliases/production"


class FakeServer:
    """Answers what it was told to, and remembers what it was asked."""

    def __init__(self):
        self.answers = {}
        self.requests = []

    def answer(self, method, path, status=200, headers=None, **content):
        """Set the answer to a method and path; `content` is httpx.Response's."""
        self.answers[method, path] = httpx.Response(status, headers=headers, **content)

    def __call__(self, request):
        request.read()
        self.requests.append(request)
        return self.answers[request.method, request.url.raw_path.decode()]

    @contextmanager
    def backend(self, api_key=None):
        """A backend whose network is this fake."""
        with connect("http://server", api_key, httpx.MockTransport(self)) as connection:
            yield HttpTaskBackend(connection)


@pytest.fixture
def server():
    """A server that knows no route yet."""
    return FakeServer()


def task(name):
    """A task as the wire has it."""
    return {"name": name, "description": "", "created_at": NOW, "latest_version": None, "production_version": None}


def version(number):
    """A version as the wire has it."""
    return {
        "task": "sentiment",
        "version": number,
        "digest": "d" * 64,
        "peft_type": "PROMPT_TUNING",
        "num_virtual_tokens": 8,
        "created_at": NOW,
        "manifest": {},
    }


def alias(number):
    """An alias as the wire has it."""
    return {"alias": "production", "version": number, "targets": [{"version": number, "weight": 1}], "shadow_of": None}


def production(number):
    """The same as the commands see it."""
    return Alias("sentiment", "production", (AliasTarget(number),), shadow_of=None)


def test_lists_are_read_to_their_last_page(server):
    """A page that says there is more is followed from its last item."""
    first = {"data": [task("a"), task("b")], "has_more": True}
    server.answer("GET", "/v1/tasks?limit=100", json=first)
    server.answer("GET", "/v1/tasks?limit=100&after=b", json={"data": [task("c")], "has_more": False})
    with server.backend() as backend:
        assert [task.name for task in backend.list_tasks()] == ["a", "b", "c"]


def test_publish_sends_two_files_and_a_manifest(server):
    """The body is what the upload route documents; 200 instead of 201 means that nothing was new."""
    path = "/v1/tasks/sentiment/versions"
    server.answer("POST", path, 201, json=version(1))
    publication = Publication("sentiment", "", CheckpointFiles(b"{}", b"\0tensors"), {"note": "n"}, True, promote=True)
    with server.backend() as backend:
        assert backend.publish(publication) == PublishResult("sentiment", 1, "d" * 64, created=True)
        server.answer("POST", path, 200, json=version(1))
        assert backend.publish(publication).created is False
    body = server.requests[0].content
    assert b'name="adapter_config"; filename="adapter_config.json"' in body
    assert b'name="adapter_model"; filename="adapter_model.safetensors"' in body
    assert b"\0tensors" in body
    assert json.dumps({"note": "n", "allow_base_mismatch": True}).encode() in body
    assert b'name="promote"\r\n\r\ntrue' in body


def header_of(name, num_bytes):
    """The beginning of a safetensors file with one tensor of zeros."""
    entry = {"dtype": "F16", "shape": [num_bytes // 2], "data_offsets": [0, num_bytes]}
    text = json.dumps({name: entry}).encode()
    return len(text).to_bytes(8, "little") + text


def test_what_is_left_out_is_said(server):
    """Here, since the file is large, and by the server; only the server may have compared it."""
    path = "/v1/tasks/sentiment/versions"
    here = FileEntries(BytesSource(b""), (Entry("wte.weight", "F32", (2,), 0, 8),))
    there = {"name": "lm_head.weight", "num_bytes": 4, "note": "left out lm_head.weight"}
    server.answer("POST", path, 201, json=version(1) | {"left_out": [there]})
    publication = Publication("sentiment", "", CheckpointFiles(b"{}", b"tensors", here), {}, False, promote=False)
    with server.backend() as backend:
        assert backend.publish(publication).notes == (
            "left out wte.weight (8 bytes): it was not compared with the base model's own",
            "left out lm_head.weight",
        )


def test_the_server_decides_how_large_a_checkpoint_may_be(server, tmp_path):
    """A command reads more than the default limit, and never without bound."""
    folder = tmp_path / "sentiment"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    server.answer("POST", "/v1/tasks/sentiment/versions", 201, json=version(1))
    tensors = folder / "adapter_model.safetensors"
    num_bytes = DEFAULT_MAX_TENSOR_BYTES + 10**6
    tensors.write_bytes(header_of("prompt_embeddings", num_bytes))
    with server.backend() as backend:
        os.truncate(tensors, tensors.stat().st_size + num_bytes)
        assert publish_folder(backend, folder, promote=False).version == 1
        os.truncate(tensors, 1 << 40)
        with pytest.raises(InvalidFolder, match="the maximum is"):
            publish_folder(backend, folder, promote=False)
    assert int(server.requests[0].headers["content-length"]) > DEFAULT_MAX_TENSOR_BYTES


def test_promote_moves_production_from_where_it_was_read(server):
    """If somebody moves it in between, the server refuses instead of losing that move."""
    server.answer("GET", ALIAS, headers={"etag": '"e1"'}, json=alias(1))
    server.answer("PUT", ALIAS, json=alias(2))
    with server.backend() as backend:
        assert backend.set_alias(production(2), "better") == production(2)
    assert server.requests[-1].headers["if-match"] == '"e1"'
    assert json.loads(server.requests[-1].content) == {
        "targets": [{"version": 2, "weight": 1}],
        "shadow_of": None,
        "reason": "better",
    }


def test_promote_creates_production_where_there_is_none(server):
    """A task can be without `production`."""
    server.answer("GET", ALIAS, 404, json={"error": {"message": "no such alias", "param": None}})
    server.answer("PUT", ALIAS, json=alias(2))
    with server.backend() as backend:
        backend.set_alias(production(2), "")
    assert server.requests[-1].headers["if-none-match"] == "*"


def test_a_description_travels_with_the_upload(server):
    """The server gives it to a task that the upload makes: a refused upload leaves no empty task behind."""
    server.answer("POST", "/v1/tasks/sentiment/versions", 201, json=version(1))
    publication = Publication("sentiment", "Says what is meant.", CheckpointFiles(b"{}", b"t"), {}, False, False)
    with server.backend() as backend:
        assert backend.publish(publication).version == 1
    assert len(server.requests) == 1
    assert b'name="description"\r\n\r\nSays what is meant.' in server.requests[0].read()


def test_rollback_leaves_the_choice_to_the_server(server):
    """Which version was before, only the alias's history knows."""
    server.answer("POST", f"{ALIAS}/rollback", json=alias(1))
    with server.backend() as backend:
        assert backend.rollback("sentiment", "production", "") == production(1)


@pytest.mark.parametrize(
    ("reference", "path"), [("sentiment@3", "/v1/tasks/sentiment/versions/3"), ("sentiment", ALIAS)]
)
def test_a_reference_names_a_version_or_goes_through_its_alias(server, reference, path):
    """Only an alias costs a look-up."""
    server.answer("GET", ALIAS, headers={"etag": '"e"'}, json=alias(3))
    server.answer("GET", "/v1/tasks/sentiment/versions/3", json=version(3))
    with server.backend() as backend:
        assert backend.get_version(reference).version == 3
    assert server.requests[0].url.path == path


def test_the_key_is_sent_and_a_strange_name_is_not(server):
    """What would change the path never leaves the machine."""
    server.answer("GET", "/v1/tasks/sentiment", json=task("sentiment"))
    with server.backend(api_key="k3y") as backend:
        backend.get_task("sentiment")
        with pytest.raises(InvalidName):
            backend.delete("../models")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer k3y"]


def test_the_server_s_error_is_the_message(server):
    """The parameter at fault comes first."""
    server.answer("DELETE", "/v1/tasks/x", 409, json={"error": {"message": "in use", "param": "version"}})
    with server.backend() as backend, pytest.raises(ServerRefused, match=r"^version: in use$") as refused:
        backend.delete("x")
    assert refused.value.status == 409


@pytest.mark.parametrize("answer", [{"text": "<html>"}, {"json": []}, {"json": {"detail": "Not Found"}}], ids=str)
def test_something_else_that_answers_is_told_apart(server, answer):
    """A proxy's error page is not repeated."""
    server.answer("GET", "/v1/tasks/x", 502, **answer)
    with server.backend() as backend, pytest.raises(ServerUnreachable, match="not a softprompt server"):
        backend.get_task("x")


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_broken_network_is_one_of_our_errors(error):
    """No foreign exception leaves the connection."""

    def broken(request):
        raise error("foreign words")

    transport = httpx.MockTransport(broken)
    with connect("http://server", None, transport) as connection, pytest.raises(ServerUnreachable) as raised:
        HttpTaskBackend(connection).list_tasks()
    assert "foreign" not in str(raised.value)


@pytest.mark.parametrize("url", ["server:8000", "ftp://server", "http://", "http://a\nb", ""])
def test_a_url_that_is_none_is_wrong_usage(url):
    """Said before anything is tried."""
    with pytest.raises(UsageProblem), connect(url, None):
        pass


def test_a_stream_is_printed_as_it_comes_and_its_error_raised():
    """The events of a completion, up to the end or an error amid them."""
    events = [
        'data: {"choices": [{"text": "posi"}]}',
        "",
        ": a comment",
        'data: {"choices": [{"text": "tive"}]}',
        'data: {"choices": [], "usage": {}}',
        "data: [DONE]",
    ]
    assert "".join(texts(events)) == "positive"
    with pytest.raises(ServerRefused, match="engine failed"):
        list(texts(['data: {"error": {"message": "engine failed"}}']))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["<html>"],
        ['data: {"choices": [{"text": "posi"}]}'],
        ['data: {"choices": [{"text": "posi"'],
        ["data: " + "[" * 5_000],
        ["data: []"],
        ['data: {"choices": [{}]}', "data: [DONE]"],
    ],
    ids=lambda lines: repr(lines)[:40],
)
def test_a_stream_without_its_end_is_no_answer(lines):
    """What a proxy cuts off, or another server says, does not pass for the whole text."""
    with pytest.raises(ServerUnreachable, match="broke off"):
        list(texts(lines))


@pytest.mark.parametrize("answer", ["<html>", "[]", "{}", '{"choices": [{}]}', "[" * 5_000])
def test_an_answer_that_is_none_is_one_of_our_errors(softprompt, monkeypatch, answer):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=answer))
    monkeypatch.setattr(connection_module, "connect", partial(connect, transport=transport))
    code, out, err = softprompt("generate", "mood", "a", "--no-stream")
    assert (code, out, "not a softprompt server" in err) == (1, "", True)


def test_a_refused_stream_raises_the_server_s_error(server):
    """The body of an error is read although the request was to stream."""
    server.answer("POST", "/v1/completions", 404, json={"error": {"message": "no such task", "param": "model"}})
    with server.backend() as backend, pytest.raises(ServerRefused, match="model: no such task"):
        list(backend.connection.lines("/v1/completions", {}))
