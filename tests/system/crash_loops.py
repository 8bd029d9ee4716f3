"""A tuning job that ends one server process after another: three without progress, then it fails and a server stays up.

`python -m tests.system.crash_loops` prints how long each life took.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from server.cli.serving.watchdog import EXIT_WEDGED
from tests.system.server_process import ServerProcess
from tests.system.tuning import start
from tests.system.tuning_demo import examples, upload, wait

_END_TIMEOUT_S = 120.0
_MAX_LIVES = 6
OUTLASTED = {"engine_timeout_s": 0.002, "tuning_micro_batch_tokens": 100}
"""Every piece takes longer than this, though none is so long that it would be measured first."""


@dataclass(frozen=True, slots=True)
class Life:
    """A server that the job ended: seconds from its being ready to its end, and its status (negative: a signal)."""

    took_s: float
    status: int


@dataclass(frozen=True, slots=True)
class CrashLoop:
    """The servers that a job ended, what became of it, and whether the last server answered afterwards."""

    lives: tuple[Life, ...]
    status: str
    code: str
    message: str
    stayed_up: bool


def outlasting(folder: Path) -> CrashLoop:
    """A job whose every piece outlasts `--engine-timeout-s`: the watchdog ends the process."""
    return _loop(folder, lambda *_: None, **OUTLASTED)


def killed_while_running(folder: Path) -> CrashLoop:
    """A job whose server is killed as soon as it runs, as by a kernel that is out of memory."""

    def kill(server: ServerProcess, client: openai.OpenAI, job_id: str, num_lives: int) -> None:
        if not _until_claimed(client, job_id, num_lives).error:
            server.process.kill()

    return _loop(folder, kill, tuning_checkpoint_s=1000)


def killed_at_the_end(folder: Path) -> CrashLoop:
    """A job whose server is killed once all is learnt, as by an evaluation that takes too much memory.

    The first one's checkpoint is progress; that each of the others saves it anew is none. So these are four.
    """

    def kill(server: ServerProcess, client: openai.OpenAI, job_id: str, num_lives: int) -> None:
        if not _until_claimed(client, job_id, num_lives).error:
            wait(client, job_id, lambda _: client.fine_tuning.jobs.checkpoints.list(job_id).data)
            server.process.kill()

    return _loop(folder, kill, num_steps=2)


def _until_claimed(client: openai.OpenAI, job_id: str, num_lives: int) -> Any:
    """Wait until the job is this server's, and not still that of a dead one; or until it has ended."""

    def is_claimed(job: Any) -> bool:
        events = client.fine_tuning.jobs.list_events(job_id, limit=100).data
        num_stopped = sum("has stopped; another one goes on" in event.message for event in events)
        return job.status == "running" and num_stopped == num_lives

    return wait(client, job_id, is_claimed)


def _loop(
    folder: Path,
    end: Callable[[ServerProcess, openai.OpenAI, str, int], None],
    *,
    num_steps: int = 5000,
    **options: object,
) -> CrashLoop:
    lives: list[Life] = []
    job_id = ""
    options = {"data_dir": folder, "threads": 1, "tuning_takeover_s": 1.1, **options}
    while True:
        with _serving(folder / f"{len(lives)}.log", options) as (server, client):
            began = time.monotonic()
            try:
                if not job_id:
                    job_id = start(client, upload(client, examples(2, 1000)), "looping", num_steps=num_steps)
                end(server, client, job_id, len(lives))
                job = wait(client, job_id)
            except openai.APIConnectionError:
                lives.append(Life(time.monotonic() - began, server.process.wait(_END_TIMEOUT_S)))
                assert len(lives) < _MAX_LIVES, "the job ends one server after another"
                continue
            return _outcome(lives, client, server, job)


@contextmanager
def _serving(log: Path, options: Mapping[str, object]) -> Iterator[tuple[ServerProcess, openai.OpenAI]]:
    with (
        ServerProcess(log, **options) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield server, client


def _outcome(lives: list[Life], client: openai.OpenAI, server: ServerProcess, job: Any) -> CrashLoop:
    time.sleep(2.5)  # longer than a watchdog waits
    answered = bool(client.completions.create(model="sentiment", prompt="I loved it", max_tokens=2).choices)
    error = job.error
    stayed_up = answered and server.process.poll() is None
    return CrashLoop(tuple(lives), job.status, error.code, error.message, stayed_up)


SCENARIOS = (
    (outlasting, [EXIT_WEDGED] * 3),
    (killed_while_running, [-signal.SIGKILL] * 3),
    (killed_at_the_end, [-signal.SIGKILL] * 4),
)


def main() -> None:
    """Run all, and print what became of each."""
    for scenario, expected in SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            found = scenario(Path(folder))
            lives = ", ".join(f"{life.took_s:.1f} s (status {life.status})" for life in found.lives)
            print(
                f"{scenario.__name__}: {len(found.lives)} lives: {lives}; then {found.status}: {found.message}",
                flush=True,
            )
            assert found.stayed_up
            assert [life.status for life in found.lives] == expected


if __name__ == "__main__":
    main()
