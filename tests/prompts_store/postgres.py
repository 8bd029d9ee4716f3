"""A PostgreSQL for tests: the one that a variable names, else a private cluster in a temporary folder.

A private cluster needs PostgreSQL's binaries, on PATH or where Debian puts them. It listens on a Unix socket only.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from sqlalchemy import make_url

URL_VARIABLE = "SOFTPROMPT_TEST_POSTGRES_URL"
REQUIRE_VARIABLE = "SOFTPROMPT_REQUIRE_POSTGRES"
_DEBIAN = "/usr/lib/postgresql"
_START_TIMEOUT_S = 60.0


class NoPostgres(Exception):
    """This machine has no PostgreSQL to test with."""


class Cluster:
    """A PostgreSQL server of our own. PostgreSQL refuses to run as root, so root runs it as another user."""

    def __init__(self, folder: Path, binaries: Path, *, fsync: bool) -> None:
        self.folder = folder
        self.user = _user()
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        shutil.chown(folder, self.user)
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "softprompt", "-E", "UTF8", "--no-locale", "--no-sync")
        settings = f"fsync = {'on' if fsync else 'off'}\nlisten_addresses = ''\nunix_socket_directories = '{folder}'\n"
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(settings + "max_connections = 120\n")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://softprompt@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait until it answers, also after a crash, when it recovers first."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            if self._process is None or self._process.poll() is not None:
                self._process = self._spawn()
            try:
                psycopg.connect(_libpq(self.url()), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once, its clients thrown out."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=_START_TIMEOUT_S)
            self._process = None

    def kill(self) -> None:
        """Kill the server, first its postmaster and then all other processes of it."""
        assert self._process is not None
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server."""
        assert self._process is not None
        for process in (self._process.pid, *_children(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data")]
            return subprocess.Popen(
                command, cwd=self.folder, user=self.user, stdout=log, stderr=log, start_new_session=True
            )

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        subprocess.run(command, cwd=self.folder, user=self.user, check=True, capture_output=True)


@contextmanager
def private_cluster(*, fsync: bool = False) -> Iterator[Cluster]:
    """Start a cluster and remove it in the end. Raises NoPostgres."""
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="softprompt-postgres-"))
    try:
        cluster = Cluster(folder, binaries, fsync=fsync)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_database(server_url: str) -> Iterator[str]:
    """Create an empty database on a server and drop it in the end; yields its URL."""
    url = create_database(server_url)
    try:
        yield url
    finally:
        with psycopg.connect(_libpq(server_url), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def create_database(server_url: str) -> str:
    """Create an empty database on a server and return its URL."""
    name = f"softprompt_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(_libpq(server_url), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


def execute(url: str, *statements: str) -> None:
    """Run statements in a transaction of their own, past the store."""
    with psycopg.connect(_libpq(url)) as connection:
        for statement in statements:
            connection.execute(statement)


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _binaries() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path(_DEBIAN).glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not versions:
        raise NoPostgres(f"set {URL_VARIABLE}, or install PostgreSQL's server (Debian: postgresql)")
    return versions[-1].parent


def _user() -> str:
    """Return who runs the server: we, or somebody without rights if we are root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
