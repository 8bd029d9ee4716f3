"""Two servers on one PostgreSQL behind HAProxy, by the configuration in docker/haproxy.

The long form, in minutes: `python -m tests.system.proxied` (300 swaps, 20 stops and 10 kills under load).
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from prompts_store import maintenance
from tests.programs import program
from tests.prompts_store import postgres
from tests.system.asking import NUM_CLIENTS, Address, Asked, failures, longest_gap_s
from tests.system.live_server import tiny_base
from tests.system.server_process import ROOT, ServerProcess

CONFIGURATION = ROOT / "docker/haproxy/haproxy.cfg"
NAMES = ("one", "two")
BACK_WITHIN_S = 10.0
_LOG_LINE = re.compile(r" servers/(?P<server>\S+) \S+ (?P<status>-?\d+) \d+ - - (?P<end>\S+) ")


@dataclass
class Pair:
    """Two servers by their names in the proxy's configuration, and clients of the proxy."""

    address: Address
    proxy_log: Path
    servers: dict[str, ServerProcess]
    options: dict[str, object]

    def restart(self, name: str) -> None:
        """Start a server that has ended anew, at the same address, and wait until the proxy sends requests to it."""
        old = self.servers[name]
        self.servers[name] = ServerProcess(old.log, **self.options, port=urlsplit(old.url).port)
        assert self.servers[name].url == old.url
        num_seen = len(self.lines())
        deadline = time.monotonic() + 30
        while not any(line["server"] == name and line["status"] == "200" for line in self.lines()[num_seen:]):
            assert time.monotonic() < deadline, "the proxy does not send to the server that is back"
            time.sleep(0.1)

    def lines(self) -> list[re.Match[str]]:
        """The proxy's log: a line for each request that it sent to a server."""
        return list(_LOG_LINE.finditer(self.proxy_log.read_text()))


@contextmanager
def pair() -> Iterator[Pair]:
    """Start everything. Raises NoPostgres and NoProgram."""
    haproxy = program("haproxy", "haproxy")
    with ExitStack() as stack:
        cluster = stack.enter_context(postgres.private_cluster())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="softprompt-proxied-")))
        maintenance.upgrade(cluster.url())
        options: dict[str, object] = {
            "base_model": tiny_base(folder / "base"), "data_dir": folder / "data", "database_url": cluster.url(),
            "device": "cpu", "threads": 1, "num_kv_blocks": 200, "shutdown_grace_s": 20,
        }  # fmt: skip
        servers = {name: ServerProcess(folder / f"{name}.log", **options) for name in NAMES}
        stack.callback(lambda: [server.close() for server in servers.values()])
        log = folder / "haproxy.log"
        url = stack.enter_context(proxy(haproxy, [server.url for server in servers.values()], folder, log))
        yield Pair(Address(url), log, servers, options)


@contextmanager
def proxy(haproxy: str, urls: Sequence[str], folder: Path, log: Path) -> Iterator[str]:
    """Run HAProxy by the shipped file with our addresses in it; it inherits the socket that it listens on."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        text = CONFIGURATION.read_text().replace("bind :8000", f"bind fd@{listener.fileno()}")
        for address, url in zip(("10.0.0.11:8000", "10.0.0.12:8000"), urls, strict=True):
            assert address in text
            text = text.replace(address, urlsplit(url).netloc)
        (folder / "haproxy.cfg").write_text(text)
        command = [haproxy, "-db", "-f", str(folder / "haproxy.cfg")]
        with log.open("wb") as output:
            process = subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=output, stderr=output)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        deadline = time.monotonic() + 30
        while httpx.get(f"{url}/ready", timeout=30).status_code != 200:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def stop(running: Pair, name: str) -> list[Asked]:
    """Stop a server under load, as a rolling update does, and start it again: no request fails."""
    with running.address.clients() as asked:
        assert running.servers[name].stop() == 0
        running.restart(name)
    assert not failures(asked), failures(asked)[:3]
    return asked


@dataclass(frozen=True, slots=True)
class Killed:
    """What a kill cost. `gap_s` is the longest time between two right answers from the kill on."""

    num_failed: int
    gap_s: float
    restarted_after_s: float


def kill(running: Pair, name: str) -> Killed:
    """Kill a server under load, and start it again: only what it was answering fails, one request a client at most."""
    with running.address.clients() as asked:
        num_seen = len(running.lines())
        killed_at = time.monotonic()
        running.servers[name].kill()
        dead_at = time.monotonic()
        running.restart(name)
        restarted_after_s = time.monotonic() - killed_at
    failed = failures(asked)
    assert len(failed) <= NUM_CLIENTS, failed
    assert all(one.began_at <= dead_at for one in failed), failed
    is_whole = ("200", "----")
    blamed = {line["server"] for line in running.lines()[num_seen:] if (line["status"], line["end"]) != is_whole}
    assert blamed <= {name}, blamed
    gap_s = longest_gap_s(asked, killed_at)
    assert gap_s < BACK_WITHIN_S
    return Killed(len(failed), gap_s, restarted_after_s)


def main() -> None:
    """Run the long form and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=300)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    given = parser.parse_args()
    with pair() as running:
        swapped = running.address.swap(given.swaps, 0.1)
        print(f"{given.swaps} swaps: {len(swapped)} answers, none wrong, no error", flush=True)
        num_answers = sum(len(stop(running, NAMES[turn % 2])) for turn in range(given.stops))
        print(f"{given.stops} stops and starts: {num_answers} answers, none wrong, no error", flush=True)
        killed = [kill(running, NAMES[turn % 2]) for turn in range(given.kills)]
        num_failed = sum(each.num_failed for each in killed)
        print(f"{given.kills} kills: {num_failed} requests lost, each begun before the kill and with that server")
        print(f"longest time without an answer: {max(each.gap_s for each in killed):.2f} s")
        print(f"killed server in service again after {max(each.restarted_after_s for each in killed):.1f} s at most")


if __name__ == "__main__":
    main()
