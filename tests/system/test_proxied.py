"""Two servers behind the load balancer that docker/haproxy configures; `make replica-test` is the long form."""

import subprocess
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import httpx
import pytest

from tests.programs import NoProgram, program, without_program
from tests.prompts_store import postgres
from tests.prompts_store.conftest import without_postgres
from tests.system import proxied


def test_haproxy_takes_the_file():
    """By its own check."""
    try:
        haproxy = program("haproxy", "haproxy")
    except NoProgram as reason:
        without_program(reason)
    subprocess.run([haproxy, "-c", "-f", proxied.CONFIGURATION], check=True, capture_output=True)


class Busy(BaseHTTPRequestHandler):
    """A server that is ready, and answers 503 to whatever it is asked; `asked` has the paths."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        if self.path != "/ready":
            self.asked.append(self.path)
        self.send_response(200 if self.path == "/ready" else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_what_a_server_refuses_goes_to_another_one_unless_it_is_a_change(tmp_path):
    """Which may have been made."""
    try:
        haproxy = program("haproxy", "haproxy")
    except NoProgram as reason:
        without_program(reason)
    with ExitStack() as stack:
        servers = [stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Busy)) for _ in range(2)]
        for server in servers:
            Thread(target=server.serve_forever).start()
            stack.callback(server.shutdown)
        urls = [f"http://127.0.0.1:{server.server_port}" for server in servers]
        url = stack.enter_context(proxied.proxy(haproxy, urls, tmp_path, tmp_path / "log"))
        for path, times in (("/v1/models", 3), ("/v1/tasks", 1), ("/v1/fine_tuning/jobs", 1)):
            Busy.asked.clear()
            assert httpx.get(url + path, timeout=30).status_code == 503
            assert Busy.asked == [path] * times


@pytest.mark.slow
@pytest.mark.timeout(600)  # four starts of a server: a slow machine, not a hang
def test_a_pair_behind_the_proxy_answers_through_swaps_a_stop_and_a_kill():
    """One test, since the servers are costly to start and test workers share none."""
    try:
        with proxied.pair() as running:
            running.address.swap(20, pause_s=0.05)
            proxied.stop(running, "one")
            proxied.kill(running, "two")
    except postgres.NoPostgres as reason:
        without_postgres(reason)
    except NoProgram as reason:
        without_program(reason)
