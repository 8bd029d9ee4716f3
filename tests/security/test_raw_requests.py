"""What only a raw socket can send: half a request, a body of two lengths, an upgrade."""

import socket
import threading
from contextlib import contextmanager

import pytest

from server.api.access.key_ring import KeyRing
from server.app import create_app
from server.cli.serving.http_server import HttpServer, http_config
from server.cli.serving.serve import bind
from server.settings import ServeSettings
from tests.fakes.services import with_parts

TIMEOUT_S = 5.0
"""Less than the ten seconds that a body may stall."""


@pytest.fixture
def connect(services):
    """Opens connections to a server that asks for keys."""
    ready = threading.Event()
    app = create_app(with_parts(services, keys=KeyRing(services.store_access.store, "secret")))
    with bind("127.0.0.1", 0) as listener:
        server = HttpServer(http_config(app, ServeSettings()), on_ready=ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(10)
            yield lambda: socket.create_connection(listener.getsockname(), timeout=TIMEOUT_S)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def sent(connect, head: bytes, body: bytes = b""):
    """A connection on which a request was begun."""
    with connect() as client:
        client.sendall(head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body)
        yield client


@pytest.mark.parametrize("path", [b"/v1/completions", b"/v1/classify", b"/v1/keys", b"/v1/fine_tuning/jobs"])
def test_a_stranger_is_refused_while_the_body_is_still_to_come(connect, path):
    """The answer waits for nothing that a stranger may never send."""
    head = b"POST %s HTTP/1.1\nhost: t\nauthorization: Bearer wrong\ncontent-length: 999" % path
    with sent(connect, head, b'{"model"') as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_who_asks_before_sending_is_not_told_to_go_on(connect):
    """`Expect: 100-continue`: a wrong key is answered in its place."""
    head = b"POST /v1/completions HTTP/1.1\nhost: t\nexpect: 100-continue\ncontent-length: 999"
    with sent(connect, head) as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_a_body_of_two_lengths_is_refused_and_the_connection_closed(connect):
    """Where a proxy goes by one and we by the other, a second request could hide in the body (RFC 9112, 6.1)."""
    hidden = b"0\r\n\r\nGET /health HTTP/1.1\r\nhost: t\r\n\r\n"
    head = b"POST /v1/completions HTTP/1.1\nhost: t\nauthorization: Bearer secret\ncontent-length: %d" % len(hidden)
    with sent(connect, head + b"\ntransfer-encoding: chunked", hidden) as client:
        answers = b"".join(iter(lambda: client.recv(4096), b""))
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_an_upgrade_is_no_way_around_the_key(connect, protocol):
    """It is a request like any other."""
    head = b"GET /v1/tasks HTTP/1.1\nhost: t\nconnection: upgrade\nupgrade: %s\nsec-websocket-key: AAAA" % protocol
    with sent(connect, head) as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 401 ")
