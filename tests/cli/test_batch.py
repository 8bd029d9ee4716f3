"""`softprompt batch`: a file of requests answered by a running server, once, whatever is interrupted."""

import json
import signal
import subprocess
import sys
import time

import httpx
import pytest

from server.cli.batches import remote
from server.cli.batches.lines import prepare
from server.cli.errors import FilesProblem
from tests.api.live_server import live_server
from tests.batches.conftest import line, with_batches
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.services import fake_services
from tests.fakes.tokenizers import byte_level


@pytest.fixture
def engine():
    """Always says "fine"."""
    tokenizer = byte_level()
    answer = (*tokenizer.encode("fine"), tokenizer.eos_token_id)
    return ScriptedEngine(script=lambda request, choice: answer, eos_token_ids=tokenizer.eos_token_ids())


@pytest.fixture
def url(backend, engine, monkeypatch):
    """A server with the task `mood`, asked again at once."""
    monkeypatch.setattr(remote, "POLL_INTERVAL_S", 0.02)
    with live_server(with_batches(fake_services(backend.store, engine))) as url:
        files = {name: (name, data) for name, data in prompt_tuning_files().items()}
        assert httpx.post(f"{url}/v1/tasks/mood/versions", files=files).status_code == 201
        yield url


@pytest.fixture
def batch(softprompt, url, tmp_path):
    """Run the command on these lines."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"

    def run(*lines, options=("--model", "mood")):
        if lines:
            source.write_text("\n".join(lines) + "\n")
        return softprompt("batch", source, output, "--url", url, *options)

    run.output = output
    return run


def open_gate(engine):
    """Let the engine answer, whose server runs in another thread."""
    loop = engine.gate._loop  # None until a request waits
    if loop is None:
        engine.gate.set()
    else:
        loop.call_soon_threadsafe(engine.gate.set)


def ids(path):
    return [json.loads(one)["custom_id"] for one in path.read_text().splitlines()]


def bodies(data):
    return [json.loads(one) for one in data.splitlines()]


def test_answers_come_in_the_order_of_the_input(batch, engine):
    """All three forms of a line in one file; the journal is gone at the end."""
    code, out, err = batch(
        "plain text", '{"prompt": "short", "custom_id": "b"}', line("c"), options=("--model", "mood")
    )
    assert code == 1  # the third names another task
    assert out == f"2 of 3 lines answered -> {batch.output}\n"
    assert "1 lines have no answer (batch-1 is completed)" in err
    assert ids(batch.output) == ["line-1", "b"]
    assert ids(batch.output.with_name("out.jsonl.errors")) == ["c"]
    assert not batch.output.with_name("out.jsonl.journal").exists()


def test_a_batch_without_errors_succeeds(batch):
    """Exit code 0, and the outcome as JSON."""
    code, out, _ = batch("one", "two", options=("--model", "mood", "--json"))
    assert (code, json.loads(out)) == (
        0,
        {"id": "batch-1", "status": "completed", "num_lines": 2, "num_answered": 2, "errors": None},
    )


def test_an_output_that_exists_is_not_written_over(batch):
    """And the server is not asked again; with --overwrite it is."""
    assert batch("one")[0] == 0
    code, _, err = batch()
    assert (code, err) == (1, f"softprompt: {batch.output} already exists; choose another name, or give --overwrite\n")
    assert batch(options=("--model", "mood", "--overwrite"))[0] == 0


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/classify"])
def test_texts_fit_every_endpoint(batch, endpoint):
    """A plain text is a message or an input, as the endpoint has it."""
    extra = '{"input": "a", "labels": ["x", "y"]}' if endpoint == "/v1/classify" else "plain"
    code, _, err = batch(extra, options=("--model", "mood", "--endpoint", endpoint))
    assert (code, err.count("softprompt:")) == (0, 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("{",), "line 1 begins like JSON but is not valid JSON"),
        (("text", ""), "line 1 names no model: give one with --model"),
        ((" ",), "the input file has no lines"),
        (('{"body": {}, "url": "/v1/images"}',), "url must be one of"),
    ],
)
def test_a_file_that_cannot_be_asked_is_refused_before_a_request(batch, engine, lines, message):
    """With the number of the line, and no journal is left."""
    code, _, err = batch(*lines, options=())
    assert code == 1
    assert message in err
    assert not batch.output.with_name("out.jsonl.journal").exists()


def test_what_the_server_finds_wrong_is_said_with_its_line(batch):
    """The batch has failed: nothing is left to go on with."""
    code, _, err = batch(line("a"), line("a"), options=())
    assert code == 1
    assert "line 2: The custom_id of line 1 is used again" in err
    assert not batch.output.with_name("out.jsonl.journal").exists()


def test_an_interrupted_command_goes_on_and_asks_nothing_twice(batch, engine, url, monkeypatch):
    """Ctrl-C leaves the batch to the server; the same command collects it."""
    engine.gate.clear()

    with monkeypatch.context() as patch:
        patch.setattr(remote.RemoteBatch, "watch", _interrupted)
        code, _, err = batch("one", "two")
    assert code == 130
    assert "detached; batch-1 continues on the server" in err
    open_gate(engine)
    assert batch()[0] == 0
    assert ids(batch.output) == ["line-1", "line-2"]
    assert len(httpx.get(f"{url}/v1/batches").json()["data"]) == 1
    assert len(engine.requests) == 2


@pytest.mark.parametrize("kill_at", ["upload", "create"])
def test_a_command_killed_before_it_learned_an_id_finds_it(batch, engine, url, monkeypatch, kill_at):
    """The server has done it, and the answer was lost: it is not done again."""
    send = remote.Connection.send

    def lost(self, method, path, **request):
        answer = send(self, method, path, **request)
        if method == "POST" and path == {"upload": "/v1/files", "create": "/v1/batches"}[kill_at]:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(remote.Connection, "send", lost)
        assert batch("one")[0] == 130
    assert batch()[0] == 0
    assert len(httpx.get(f"{url}/v1/batches").json()["data"]) == 1
    assert len(httpx.get(f"{url}/v1/files", params={"purpose": "batch"}).json()["data"]) == 1


def test_a_journal_of_another_input_is_refused(batch, monkeypatch):
    """Its batch would be collected as the answers to this input."""
    with monkeypatch.context() as patch:
        patch.setattr(remote.RemoteBatch, "watch", _interrupted)
        assert batch("one")[0] == 130
    code, _, err = batch("another")
    assert code == 1
    assert "is of another input or server; remove it to begin anew" in err


def test_a_batch_is_cancelled_and_collected(batch, engine, monkeypatch):
    """Without a journal there is nothing to cancel."""
    assert batch("one", options=("--model", "mood", "--cancel"))[0] == 1
    engine.gate.clear()
    with monkeypatch.context() as patch:
        patch.setattr(remote.RemoteBatch, "watch", _interrupted)
        assert batch("one")[0] == 130
    code, out, _ = batch(options=("--model", "mood", "--cancel"))
    assert (code, out) == (1, f"0 of 1 lines answered -> {batch.output}\n")
    assert ids(batch.output.with_name("out.jsonl.errors")) == ["line-1"]


def _interrupted(self, batch):
    raise KeyboardInterrupt


def test_a_killed_command_goes_on(batch, engine, url, tmp_path):
    """SIGKILL in the middle: the next run collects the batch that the killed one began."""
    engine.gate.clear()
    (tmp_path / "in.jsonl").write_text("one\ntwo\n")
    command = "import sys; from server.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ("batch", "in.jsonl", "out.jsonl", "--model", "mood", "--url", url)
    process = subprocess.Popen([sys.executable, "-c", command, *arguments], cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not httpx.get(f"{url}/v1/batches").json()["data"] and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "out.jsonl.journal").exists()
    open_gate(engine)
    assert batch()[0] == 0
    assert ids(batch.output) == ["line-1", "line-2"]
    assert len(httpx.get(f"{url}/v1/batches").json()["data"]) == 1


def test_lines_are_whole_after_preparing():
    """Every form becomes a line of OpenAI's; what a line says itself stays."""
    data = (
        b'\xef\xbb\xbftext\r\n\n{"prompt": "p"}\n{"custom_id": "x", "url": "/v1/completions", "body": {"model": "m"}}\n'
    )
    prepared = prepare(data, model="mood", endpoint=None)
    assert bodies(prepared.data) == [
        {
            "method": "POST",
            "url": "/v1/completions",
            "custom_id": "line-1",
            "body": {"model": "mood", "prompt": "text"},
        },
        {"method": "POST", "url": "/v1/completions", "custom_id": "line-3", "body": {"model": "mood", "prompt": "p"}},
        {"method": "POST", "url": "/v1/completions", "custom_id": "x", "body": {"model": "m"}},
    ]
    with pytest.raises(FilesProblem, match="UTF-8"):
        prepare(b"\xff", model="mood", endpoint=None)
