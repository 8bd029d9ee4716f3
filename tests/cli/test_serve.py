"""`softprompt serve`: the address, what is said when it is ready, and the options."""

import json
import shlex
import signal
import socket
import threading
import time

import httpx
import pytest
from fastapi import FastAPI, Response

from prompts_store.store import Store
from server.api.middleware.drain import Drain
from server.cli.errors import StartFailed
from server.cli.serving.http_server import HttpServer, http_config
from server.cli.serving.serve import bind
from server.cli.serving.serve_options import option_name, variable_name
from server.cli.serving.welcome import address, curl_commands, welcome
from server.settings import ServeSettings
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.services import fake_services


def test_every_setting_has_an_option_and_names_its_variable(softprompt, monkeypatch):
    """Nothing can be set in one way only."""
    monkeypatch.setenv("COLUMNS", "400")
    code, out, _ = softprompt("serve", "--help")
    assert code == 0
    for name in ServeSettings.model_fields:
        assert f" {option_name(name)} " in out
        assert variable_name(name) in out
    assert option_name("base_names") == "--base-name"


def test_a_port_in_use_is_found_before_the_model_is_loaded(softprompt):
    """The user reads one line at once, not after minutes."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, _, err = softprompt("serve", "--port", other.getsockname()[1])
    assert code == 1
    assert "is in use" in err
    assert err.count("\n") == 1


def test_nobody_connects_before_the_server_listens():
    """A load balancer must see a closed door while the model loads, not an open one without answer."""
    with bind("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname()[:2])


def test_a_host_of_another_machine_is_refused():
    """Neither a name that does not resolve nor an address that is not ours."""
    with pytest.raises(StartFailed):
        bind("no-such-host.invalid", 0)
    with pytest.raises(StartFailed):
        bind("192.0.2.1", 0)


def test_an_address_that_others_reach_needs_a_key(softprompt, data_dir):
    """Default-deny: an open server must be asked for by name. It is said before the model is loaded."""
    code, out, err = softprompt("serve", "--host", "0.0.0.0", "--port", 0, "--data-dir", data_dir)
    assert (code, out) == (1, "")
    assert "SOFTPROMPT_ADMIN_KEY" in err.splitlines()[-1]


def test_a_python_without_the_server_cannot_tune_beside_vllm(softprompt, data_dir, tmp_path):
    """It is said by name, before vLLM is started or looked for."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 9\n")
    python.chmod(0o700)
    options = ("--engine", "vllm", "--tuning-python", python, "--port", 0, "--data-dir", data_dir)
    code, out, err = softprompt("serve", *options)
    assert (code, out) == (1, "")
    assert "ended with status 9 before it was ready: --tuning-python must be the Python" in err.splitlines()[-1]


def test_the_server_says_ready_when_it_answers():
    """What the terminal promises is true at that moment."""
    ready = threading.Event()
    app = FastAPI()
    app.get("/health")(lambda: "ok")
    with bind("127.0.0.1", 0) as listener:
        server = HttpServer(http_config(app, ServeSettings()), on_ready=ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(timeout=60)
            assert httpx.get(f"http://127.0.0.1:{listener.getsockname()[1]}/health").json() == "ok"
        finally:
            server.should_exit = True
            thread.join()


def test_a_stop_lets_a_long_answer_be_read():
    """An answer that is complete is still on its way: the rest of the grace period is its reader's."""
    ready, answer, drain = threading.Event(), bytes(8_000_000), Drain()
    app = FastAPI()
    app.get("/")(lambda: Response(answer))
    with bind("127.0.0.1", 0) as listener, socket.socket() as client:
        server = HttpServer(http_config(app, ServeSettings()), ready.set, drain, grace_s=30)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(timeout=60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect(listener.getsockname())
        client.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        server.handle_exit(signal.SIGTERM, None)
        num_read = 0
        while piece := client.recv(400_000):
            num_read += len(piece)
            time.sleep(0.01)
        thread.join()
    assert num_read > len(answer)


URL = "http://127.0.0.1:8000"
ANOTHER = "org/it's"


@pytest.mark.parametrize(
    ("is_demo", "chats", "words"),
    [
        (True, False, ("/v1/completions", "/v1/completions", "/v1/classify")),
        (False, False, ("/v1/completions", "/v1/models", "task publish")),
        (False, True, ("/v1/chat/completions", "/v1/models", "task publish")),
    ],
    ids=["demo", "another base model", "another that chats"],
)
def test_three_commands_are_printed_whole(is_demo, chats, words):
    """Each is one line that a shell reads as it stands, whatever the id of the base model."""
    commands = curl_commands(URL, ANOTHER, is_demo=is_demo, is_open=True, chats=chats)
    assert len(commands) == 3
    for command, word in zip(commands, words, strict=True):
        assert word in command
        assert shlex.split(command)
    if not is_demo:
        assert json.loads(shlex.split(commands[0])[-1])["model"] == ANOTHER


def test_the_key_is_named_and_not_printed():
    """The commands read it from a variable."""
    for command in curl_commands(URL, ANOTHER, is_demo=True, is_open=False, chats=False):
        assert "$SOFTPROMPT_API_KEY" in command


@pytest.mark.parametrize(("base_model", "first"), [(None, "sentiment"), ("org/model", "tiny-base")])
def test_the_ready_screen_names_the_base_model_as_requests_must(base_model, first, tmp_path):
    """And the page of the API; no key is on it, and nothing but the commands is wider than a narrow terminal."""
    settings = ServeSettings(base_model=base_model, admin_key="k3y")
    with Store.open(f"sqlite:///{tmp_path}/prompts.db") as store:
        text = welcome(settings, fake_services(store, ScriptedEngine(lambda *_: (), frozenset())), 8000)
    lines = text.splitlines()
    assert any(line.endswith(f"{URL}/docs") for line in lines)
    assert any(line.endswith('"model": "tiny-base"') for line in lines)
    assert all(len(line) < 80 for line in lines if "curl" not in line)
    assert f'{{"model": "{first}"' in next(line for line in lines if "curl" in line)
    assert "k3y" not in text


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1")],
)
def test_the_address_printed_can_be_opened_on_this_machine(host, url):
    """An address that means "everywhere" is nowhere to go."""
    assert address(host, 1) == url
