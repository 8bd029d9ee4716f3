"""The tuning process beside vLLM's engine, without a model: it works on the store's jobs until its server has gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from prompts_store.store import Store
from server import __version__
from server.base_model_source import read_base_model
from server.cli.tuning.process import Server, main, work
from server.jobs.process.messages import Channel, Failed, Hello, Report, Settings, Work
from server.settings import ServeSettings
from server.tuning.cost import Costs
from tests.fakes.scripted_engine import ScriptedEngine
from tests.jobs.bench import Bench, Gateway


@pytest.fixture
def channels():
    """The channel of a server, and that of its tuning process."""
    pair = [Channel(end) for end in socket.socketpair()]
    yield pair
    for channel in pair:
        channel.hang_up()
        channel.close()


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    """What the watchdog asks, in place of its thread."""
    asked = []
    monkeypatch.setattr(
        "server.cli.tuning.process.Watchdog", lambda ask: SimpleNamespace(start=lambda: asked.append(ask))
    )
    return asked


@pytest.fixture
def bench(tmp_path):
    """Jobs, and runs without a model."""
    with Store.open(str(tmp_path / "prompts.db")) as store:
        yield Bench(store)


@asynccontextmanager
async def working(bench, channels, **options):
    """A process that has begun to work, as a task; the fake runner stands for its runner, in the same process."""
    server = Server(channels[1])
    server.on_gone = lambda: None
    runner = bench.runner(**options)
    task = asyncio.create_task(work(server, ScriptedEngine(lambda *_: (), frozenset()), runner))
    await asyncio.sleep(0)
    server.listen()
    yield task
    channels[0].hang_up()
    await asyncio.wait_for(task, 30)


async def test_it_runs_the_jobs_of_the_store_and_reports(bench, channels, monkeypatch):
    """A nudge makes it read the store at once; the folder's tasks are those that the server named last."""
    monkeypatch.setattr("server.cli.tuning.process._REPORT_S", 0.01)
    async with working(bench, channels, poll_interval_s=3600.0):
        job = bench.create()
        channels[0].send(Work(["tone"]))
        await bench.until(job, "succeeded")
        stats = {}
        while stats.get("num_succeeded") != 1:
            report = await asyncio.to_thread(channels[0].receive, 30)
            assert isinstance(report, Report)
            stats = report.stats
    assert stats["num_steps_done"] == 5


@pytest.mark.parametrize("end", ["channel", "signal"])
async def test_a_job_is_given_back_when_the_server_has_gone(bench, channels, end):
    """Saved and queued, so that any server goes on at once. A signal of its own does the same."""
    gate = Gateway(2)
    bench.control.on_step = gate
    job = bench.create()
    async with working(bench, channels) as task:
        channels[0].send(Work([]))
        await gate.until_reached()
        if end == "channel":
            channels[0].hang_up()
        else:
            signal.raise_signal(signal.SIGTERM)
        gate.open.set()
        await asyncio.wait_for(task, 30)
    assert bench.job(job).status == "queued"
    assert bench.tuning.list_checkpoints(bench.job(job).fingerprint, job)


def test_settings_that_it_does_not_know_are_its_refusal(channels):
    """The server says so, and does not start."""
    server, own = channels
    server.send(Settings({"no_such_setting": 1}))
    thread = threading.Thread(target=main, args=(own,))
    thread.start()
    assert isinstance(server.receive(30), Hello)
    refused = server.receive(30)
    thread.join()
    assert isinstance(refused, Failed) and "no_such_setting" in refused.message


def test_a_server_that_has_gone_at_once_is_no_fault(channels):
    """There is nothing to do."""
    server, own = channels
    server.hang_up()
    assert main(own) == 1


def test_it_loads_the_base_model_and_says_what_it_is(channels, monkeypatch, tmp_path):
    """The real assembly, over the demo's base model: the server compares the fingerprint before it lets it work."""
    monkeypatch.setattr(os, "_exit", lambda status: None)  # of a process whose server goes before it works
    server, own = channels
    said = []

    def be_the_server():
        said.append(server.receive(120))
        server.send(Settings({"data_dir": str(tmp_path), "threads": 1, "num_kv_blocks": 64, "log_level": "error"}))
        said.append(server.receive(120))
        server.send(Work([]))
        said.append(server.receive(120))
        server.hang_up()

    thread = threading.Thread(target=be_the_server)
    thread.start()
    status = main(own)
    thread.join()
    hello, ready, report = said
    assert (status, hello) == (0, Hello(__version__))
    assert ready.fingerprint == read_base_model(ServeSettings(data_dir=tmp_path)).fingerprint
    assert Costs(**ready.costs).hidden_size == 256
    assert isinstance(report, Report)
