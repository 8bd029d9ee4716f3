"""Connections that do not get on are closed; all others are left alone."""

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from server.cli.serving import http_protocol
from server.cli.serving.http_server import HttpServer, http_config
from server.cli.serving.serve import bind
from server.settings import ServeSettings

REQUEST = b"GET %s HTTP/1.1\r\nhost: test\r\n\r\n"
QUICK = {"header_timeout_s": 0.2, "write_timeout_s": 0.3}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    """Seconds become hundredths."""
    monkeypatch.setattr(http_protocol, "CHECK_INTERVAL_S", 0.02)
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.1)


class Application:
    """Answers, streams without end, or leaves a body unread; remembers what became of a stream."""

    def __init__(self):
        self.streams_ended = threading.Event()

    async def _stream(self, num_bytes, pause_s):
        try:
            while True:
                yield b"x" * num_bytes
                await asyncio.sleep(pause_s)
        finally:
            self.streams_ended.set()

    def asgi(self):
        async def hello(request):
            return PlainTextResponse("hello")

        async def endless(request):
            return StreamingResponse(self._stream(65_536, 0))

        async def steady(request):
            return StreamingResponse(self._stream(4_000, 0.01))

        routes = [Route("/", hello, methods=["GET", "POST"]), Route("/endless", endless), Route("/steady", steady)]
        return Starlette(routes=routes)


@contextmanager
def serving(**settings):
    """The port of a server, and its application."""
    application, ready = Application(), threading.Event()
    with bind("127.0.0.1", 0) as listener:
        server = HttpServer(http_config(application.asgi(), ServeSettings(**QUICK | settings)), on_ready=ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(60)
            yield listener.getsockname()[1], application
        finally:
            server.should_exit = True
            thread.join()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer(client) -> bytes:
    """Reads the whole answer to a request for "/"."""
    found = b""
    while b"hello" not in found:
        piece = client.recv(4096)
        assert piece, "the connection was closed"
        found += piece
    return found


def is_closed(client) -> bool:
    """Reads to the end; an answer before it is allowed."""
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("sent", [b"", b"GE", b"GET / HTTP/1.1\r\nhost: te", b"GET / HTTP/1.1\r\nhost: test\r\n"])
def test_headers_that_do_not_come_end_the_connection(sent):
    """Nothing, half a line, half of the headers, all but their end."""
    with serving() as (port, _), connect(port) as client:
        client.sendall(sent)
        assert is_closed(client)


def test_headers_that_drip_end_the_connection():
    """The time is that of all headers together."""
    with serving() as (port, _), connect(port) as client, pytest.raises(OSError):
        for _ in range(1_000):
            client.sendall(b"G")
            time.sleep(0.02)


def test_headers_of_a_second_request_have_their_time_too():
    """A kept connection is no way around."""
    with serving() as (port, _), connect(port) as client:
        client.sendall(REQUEST % b"/")
        assert answer(client)
        client.sendall(b"GET / HT")
        assert is_closed(client)


def test_a_kept_connection_may_rest_between_requests():
    """For uvicorn's own, longer time."""
    with serving() as (port, _), connect(port) as client:
        for _ in range(3):
            client.sendall(REQUEST % b"/")
            assert answer(client)
            time.sleep(0.4)


def test_a_client_that_does_not_read_is_dropped_and_its_stream_ended():
    """So its sequence is aborted."""
    with serving() as (port, application), connect(port) as client:
        client.sendall(REQUEST % b"/endless")
        assert application.streams_ended.wait(60)


def test_a_client_that_reads_is_left_alone():
    """However long it takes."""
    with serving() as (port, application), connect(port) as client:
        client.sendall(REQUEST % b"/endless")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert client.recv(65_536)
        assert not application.streams_ended.is_set()


def test_a_client_that_reads_a_little_more_slowly_than_is_written_is_left_alone(monkeypatch):
    """What is written meanwhile is no sign that it does not read."""
    monkeypatch.setattr(http_protocol, "SEND_BUFFER_BYTES", 4_096)
    with serving() as (port, application), socket.socket() as client:
        client.settimeout(60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", port))
        client.sendall(REQUEST % b"/steady")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert client.recv(3_000)
            time.sleep(0.01)
        assert not application.streams_ended.is_set()


def test_headers_that_come_whole_are_bounded_too():
    """Not only those whose end does not come; their size is what counts, whatever else is sent with them."""
    large, small = b"x: " + b"a" * 9_000 + b"\r\n\r\n", b"content-length: 9000\r\n\r\n" + b"a" * 9_000
    for rest, status in ((large, b"400"), (small, b"200")):
        with serving(max_header_bytes=8_192) as (port, _), connect(port) as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: test\r\n" + rest)
            assert client.recv(4_096).startswith(b"HTTP/1.1 " + status)


def test_what_is_no_http_behind_an_answer_only_ends_the_connection(caplog):
    """There is nothing left to answer, and nothing in the log that anybody has to read."""
    with serving() as (port, _), connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        assert answer(client)
        client.sendall(b"no chunk\r\n")
        assert is_closed(client)
    assert [record.levelname for record in caplog.records if record.levelno > logging.WARNING] == []


def test_a_body_that_nobody_reads_ends_the_connection():
    """Answered early, the client has a moment to read that, and no more."""
    with serving() as (port, _), connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\nabc")
        assert answer(client)
        assert is_closed(client)


def test_what_is_no_http_gets_the_one_error_body():
    """As JSON, like every other refusal."""
    with serving() as (port, _), connect(port) as client:
        client.sendall(b"\x16\x03\x01 what is this\r\n\r\n")
        head, _, body = b"".join(iter(lambda: client.recv(4096), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["error"]["code"] == "malformed_request"


def test_a_root_path_reaches_the_application():
    """What a proxy strips is put back into links."""
    with serving(root_path="/prompts") as (port, _), connect(port) as client:
        client.sendall(REQUEST % b"/")
        assert answer(client)


def test_https(tmp_path):
    """With a certificate and its key; nothing else answers then."""
    certificate, key = _certificate(tmp_path)
    with serving(tls_cert=certificate, tls_key=key) as (port, _):
        context = ssl.create_default_context(cafile=certificate)
        with connect(port) as plain, context.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(REQUEST % b"/")
            assert answer(client)


def test_a_client_that_says_no_farewell_does_not_hold_up_the_end(tmp_path, monkeypatch):
    """A pool of connections that rest says none, and TLS waits for it half a minute."""
    monkeypatch.setattr("server.cli.serving.http_server._FLUSH_S", 60)
    certificate, key = _certificate(tmp_path)
    context = ssl.create_default_context(cafile=certificate)
    with ExitStack() as stack:
        with serving(tls_cert=certificate, tls_key=key) as (port, _):
            plain = stack.enter_context(connect(port))
            client = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            client.sendall(REQUEST % b"/")
            assert answer(client)
            began = time.monotonic()
        assert time.monotonic() - began < 25


def _certificate(folder):
    """A self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(*encoding))
    return paths


def test_a_chunk_is_framed_as_h11_frames_it():
    """Empty ones too, which would end the body; a body with a length has no frames; and the next answer is its own."""
    request = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
    ours, theirs = http_protocol.ServerConnection(10_000), http_protocol.h11.Connection(http_protocol.h11.SERVER)
    h11 = http_protocol.h11

    def answer(connection, headers, pieces):
        connection.receive_data(request)
        while isinstance(connection.next_event(), h11.Request):
            pass
        events = [
            h11.Response(status_code=200, headers=headers),
            *(h11.Data(data=piece) for piece in pieces),
            h11.EndOfMessage(),
        ]
        output = b"".join(connection.send(event) for event in events)
        connection.start_next_cycle()
        return output

    for headers, pieces in (
        ([("x", "transfer-encoding: chunked")], [b"a" * 300, b"", b"b"]),
        ([("content-length", "2")], [b"a", b"b"]),
        ([], [b"c"]),
    ):
        assert answer(ours, headers, pieces) == answer(theirs, headers, pieces)
