"""The runner of tuning jobs over fake runs: from the queue to a live version, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from dataclasses import replace

import pytest
import torch

from prompts_store import maintenance
from prompts_store.errors import StoreUnavailable
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.tuning_records import JobError, JobStatus
from prompts_store.tuning_store import TuningStore
from server.engine.errors import EngineStopped
from server.jobs import runner as runner_module
from server.jobs.request import JobRequest, request_from_json, request_to_json
from server.soft_prompts.catalog import TaskCatalog
from server.tuning.errors import TuningDiverged
from server.tuning.fit import Host
from server.tuning.gate import Gate
from server.tuning.plan import TuningPlan
from tests.fakes.checkpoints import BASE
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tuning_run import COSTS, PNG, fake_runner
from tests.jobs.bench import LINES, REQUEST, F, Gateway, pause_at


def digest(bench, task="mood", version=1) -> str:
    return bench.store.get_version(F, task, version).digest


async def test_a_job_becomes_a_version_with_its_provenance(bench):
    job_id = bench.create(replace(REQUEST, manifest=Manifest(template="{input} ->", note="try")))
    async with bench.server():
        done = await bench.until(job_id, "succeeded", "failed")
        served = await bench.catalog.resolve(TaskReference.parse("mood"))
    assert (done.status, done.error, done.version, done.trained_tokens) == ("succeeded", None, 1, 50)
    manifest = served.record.manifest
    assert served.record.created_by == "ann"
    assert manifest.training_data_digest == bench.tuning.get_file(done.training_file).sha256
    assert (manifest.template, manifest.note, manifest.parent_version) == ("{input} ->", "try", None)
    assert manifest.defaults == {"temperature": 0.0, "max_tokens": 4}, "as long as the longest answer, its end included"
    assert manifest.metrics["exact_match"] == done.metrics["exact_match"] == 1.0
    assert bench.tuning.load_plot(F, "mood", 1) == PNG
    told = bench.messages(job_id)
    assert told[0] == "The job was created."
    assert "2 of 20 examples are held out for validation." in told
    assert [text for text in told if text.startswith("Step ")][-1].startswith("Step 5/5")
    assert told[-1] == "The job made version 1 of task mood, which is in production."
    assert maintenance.verify(bench.store).problems == ()


async def test_jobs_run_one_after_another(bench):
    running, most = 0, 0

    def on_step(step: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        running -= 1

    bench.control.on_step = on_step
    ids = [bench.create(task=f"task-{number}") for number in range(4)]
    async with bench.server():
        for job_id in ids:
            assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
    assert most == 1
    starts = [bench.job(job_id).started_at for job_id in ids]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("lines", "code", "param"),
    [
        (b"\n\n", "empty_file", "training_file"),
        ([*LINES, "{"], "bad_line", "training_file"),
        ([*LINES, '{"prompt": "x"}'], "bad_line", "training_file"),
        ([*LINES, '{"text": "x", "label": "a"}'], "mixed_forms", "training_file"),
        (b"\xff\xfe" + "\n".join(LINES).encode(), "not_utf8", "training_file"),
        (['{"text": "a", "label": "x"}', '{"text": "b", "label": "x"}'], "single_class", "training_file"),
        (['{"prompt": "a", "completion": "b"}'], "too_few_examples", "training_file"),
        ([*LINES, json.dumps({"prompt": "long " * 400, "completion": "x"})], "example_too_long", "training_file"),
    ],
)
async def test_bad_files_fail_the_job_with_the_line_at_fault(bench, lines, code, param):
    failed = await bench.run(bench.create(lines=lines))
    assert (failed.status, failed.error.code, failed.error.param) == ("failed", code, param)
    if code == "bad_line":
        assert failed.error.message.startswith("line 21: ")
    assert bench.control.began_at == []
    assert bench.store.list_tasks(F) == ()


async def test_a_validation_file_that_is_the_training_file_is_refused(bench):
    failed = await bench.run(bench.create(validation="\n".join(LINES).encode()))
    assert (failed.status, failed.error.code, failed.error.param) == ("failed", "leakage", "validation_file")


async def test_answers_outside_the_labels_are_refused(bench):
    request = replace(REQUEST, manifest=Manifest(template="{input}", labels=("yes", "maybe")))
    failed = await bench.run(bench.create(request))
    assert (failed.error.code, failed.error.param) == ("unknown_label", "training_file")


def small_host(**changes) -> Host:
    """A server with a cache of 60 tokens and a prefix budget of 3 virtual tokens."""
    engine = ScriptedEngine(lambda *_: (), frozenset(), **{"max_context": 60, **changes})
    return Host(engine, BASE, COSTS, 4 << 30, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)


@pytest.mark.parametrize(
    ("host", "code", "param"),
    [
        (small_host(max_prefix_tokens=3), "invalid_value", "num_virtual_tokens"),
        (small_host(max_context=12), "example_too_long", "training_file"),
        (replace(small_host(), memory_bytes=10_000), "example_too_long", "training_file"),
        (replace(small_host(), memory_bytes=1_000), "invalid_value", "num_virtual_tokens"),
    ],
)
async def test_what_could_never_be_served_or_computed_here_fails_before_it_is_learnt(bench, host, code, param):
    """Whichever server reads its files; also one that was started with less room since the job was created."""
    job_id = bench.create()
    failed = await bench.run(job_id, host=host)
    assert (failed.status, failed.error.code, failed.error.param) == ("failed", code, param), failed.error
    assert bench.control.began_at == []
    queued = bench.create()
    claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a")
    bench.tuning.mark_valid(claim)
    assert (await bench.run(queued, host=host)).error == failed.error
    assert bench.control.began_at == []


async def test_training_examples_that_nobody_can_ask_are_told(bench):
    lines = [*LINES, json.dumps({"prompt": "long " * 20, "completion": "x"})]
    validation = json.dumps({"prompt": "input 99", "completion": "yes"}).encode()
    job_id = bench.create(lines=lines, validation=validation)
    assert (await bench.run(job_id, host=small_host())).status == "succeeded"
    assert any(text.startswith("1 examples are learnt from, but longer than") for text in bench.messages(job_id))


@pytest.mark.parametrize("by", ["name", "folder"])
async def test_a_task_that_is_taken_meanwhile_fails_the_job_before_it_is_learnt(bench, by):
    """The server was restarted with another --base-names or --tasks-dir."""
    host = None
    if by == "name":
        host = Host(small_host().engine, replace(BASE, names=("mood",)), max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)
    else:
        bench.control.owned_tasks = ("mood",)
    failed = await bench.run(bench.create(), host=host)
    expected = {"name": "task_taken", "folder": "task_read_only"}
    assert (failed.error.code, failed.error.param) == (expected[by], "suffix")
    assert bench.control.began_at == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: not enough memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
async def test_a_lack_of_memory_is_said(bench, error):
    def fail(step: int) -> None:
        raise error

    bench.control.on_step = fail
    failed = await bench.run(bench.create())
    assert failed.error.code == "out_of_memory"


async def test_a_piece_that_fails_fails_its_job_with_the_cause(bench):
    def diverge(step: int) -> None:
        raise TuningDiverged("the loss is NaN at step 1")

    bench.control.on_step = diverge
    job_id = bench.create()
    failed = await bench.run(job_id)
    assert (failed.status, failed.error.code) == ("failed", "diverged")
    assert bench.messages(job_id)[-1] == "The job failed: the loss is NaN at step 1"


async def test_what_nobody_foresaw_fails_the_job_alone_and_is_not_quoted(bench, caplog):
    def break_down(step: int) -> None:
        raise ValueError("secret")

    bench.control.on_step = break_down
    first, second = bench.create(), bench.create(task="other")
    async with bench.server():
        failed = await bench.until(first, "failed")
        bench.control.on_step = lambda step: None
        await bench.until(second, "succeeded", "failed")
    assert failed.error.code == "internal_error"
    assert "secret" not in failed.error.message
    assert "secret" in caplog.text
    assert bench.job(second).status == "succeeded" or bench.job(second).error.code == "internal_error"


async def test_a_cancelled_job_stops_between_two_pieces(bench):
    bench.control.on_step = gate = Gateway(2)
    job_id = bench.create()
    async with bench.server() as runner:
        await gate.until_reached()
        bench.tuning.cancel_job(F, job_id)
        runner.nudge()
        other = bench.create(task="other")
        gate.open.set()
        assert (await bench.until(other, "succeeded", "failed")).status == "succeeded"
    assert bench.job(job_id).status == "cancelled"
    assert [task.name for task in bench.store.list_tasks(F)] == ["other"]
    assert maintenance.verify(bench.store).problems == ()


async def test_a_paused_job_goes_on_where_it_was(bench):
    bench.control.on_step = gate = Gateway(2)
    job_id = bench.create()
    async with bench.server(checkpoint_interval_s=1000.0) as runner:
        await pause_at(gate, bench, runner, job_id)
        assert bench.job(job_id).status == "paused"
        bench.tuning.resume_job(F, job_id)
        runner.nudge()
        done = await bench.until(job_id, "succeeded", "failed")
    assert bench.control.began_at[0] == 0
    assert bench.control.began_at[1] >= 3
    assert done.trained_tokens == 50
    paused_digest = digest(bench)
    await bench.run(bench.create(task="undisturbed"))
    assert digest(bench, "undisturbed") == paused_digest


def steps_told(bench, job_id: int) -> list[str]:
    return [text.partition(":")[0] for text in bench.messages(job_id) if text.startswith("Step ")]


EVERY_STEP = [f"Step {step}/5" for step in range(1, 6)]


async def test_a_pause_leaves_no_step_out_of_the_log(bench):
    """What no beat had carried is written with the checkpoint, since the job goes on behind it."""
    bench.control.on_step = gate = Gateway(3)
    job_id = bench.create()
    async with bench.server(checkpoint_interval_s=1000.0, beat_interval_s=1000.0) as runner:
        await pause_at(gate, bench, runner, job_id)
        bench.tuning.resume_job(F, job_id)
        runner.nudge()
        await bench.until(job_id, "succeeded", "failed")
    assert steps_told(bench, job_id) == EVERY_STEP


async def test_a_checkpoint_carries_what_was_told_up_to_it(bench):
    """A server that is killed right behind it, before the next beat, takes no event along."""
    bench.control.on_step = gate = Gateway(4)
    job_id = bench.create()
    async with bench.server(beat_interval_s=1000.0):
        await gate.until_reached()
        told = steps_told(bench, job_id)
        gate.open.set()
    assert told == EVERY_STEP[:4]


async def test_a_server_that_ends_leaves_a_checkpoint_and_the_next_one_goes_on(bench):
    bench.control.on_step = gate = Gateway(3)
    job_id = bench.create()
    async with bench.server(checkpoint_interval_s=1000.0):
        await gate.until_reached()
        threading.Timer(0.05, gate.open.set).start()
    left = bench.job(job_id)
    assert (left.status, left.claimed_by) == ("queued", None)
    assert bench.tuning.list_checkpoints(F, job_id)[0].step == 4
    done = await bench.run(job_id)
    assert bench.control.began_at == [0, 4]
    assert (done.status, done.trained_tokens) == ("succeeded", 50)
    assert "The job goes on from its checkpoint at step 4." in bench.messages(job_id)


async def test_a_server_that_ends_in_the_middle_of_a_long_piece_gives_its_job_back(bench, monkeypatch):
    """Rolling restarts, however many, are not servers that the job has ended."""
    monkeypatch.setattr(runner_module, "_LEAVE_TIMEOUT_S", 0.05)
    job_id = bench.create()
    for _ in range(4):
        bench.control.on_step = gate = Gateway(0)
        async with bench.server(checkpoint_interval_s=1000.0):
            await gate.until_reached()
        left = bench.job(job_id)
        gate.open.set()
        assert (left.status, left.claimed_by) == ("queued", None)
    bench.control.on_step = lambda step: None
    assert (await bench.run(job_id)).status == "succeeded"


async def test_a_claim_that_the_end_of_the_server_interrupts_is_given_back(bench, monkeypatch):
    """Nobody else would know of it."""
    claim_job, claimed, go_on = TuningStore.claim_job, threading.Event(), threading.Event()

    def slow(self, *args):
        found = claim_job(self, *args)
        if found is not None:
            claimed.set()
            assert go_on.wait(30)
        return found

    monkeypatch.setattr(TuningStore, "claim_job", slow)
    job_id = bench.create()
    async with bench.server():
        assert await asyncio.to_thread(claimed.wait, 30)
        threading.Timer(0.05, go_on.set).start()
    left = bench.job(job_id)
    assert (left.status, left.claimed_by) == ("validating_files", None)


async def test_a_claim_that_fails_as_the_server_ends_does_not_hold_it_up(bench, monkeypatch, caplog):
    """Whatever it fails with: the runner is still told to end."""
    asked, go_on = threading.Event(), threading.Event()

    def failing(self, *_):
        asked.set()
        assert go_on.wait(30)
        raise KeyError("not an error of the store's")

    monkeypatch.setattr(TuningStore, "claim_job", failing)
    async with asyncio.timeout(20), bench.server():
        assert await asyncio.to_thread(asked.wait, 30)
        threading.Timer(0.05, go_on.set).start()
    assert "could not be given back" in caplog.text


async def test_what_a_dead_server_left_behind_is_taken_over(bench):
    job_id = bench.create()
    claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "dead")
    bench.tuning.mark_valid(claim)
    bench.tuning.claim_job(F, JobStatus.QUEUED, "dead")
    done = await bench.run(job_id, takeover_s=0.1)
    assert done.status == "succeeded"
    assert any("(dead) has stopped" in text for text in bench.messages(job_id))


@pytest.mark.parametrize("status", [JobStatus.VALIDATING_FILES, JobStatus.QUEUED])
async def test_a_job_that_stops_one_server_after_another_fails_and_says_what_to_change(bench, status):
    """Whatever ends them: a watchdog, a lack of memory, a person. The server that sees it goes on with other jobs."""
    job_id = bench.create()
    if status is JobStatus.QUEUED:
        claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a")
        bench.tuning.mark_valid(claim)
    for _ in range(2):
        bench.tuning.claim_job(F, status, "dead")
        (silent,) = bench.tuning.heartbeats(F)
        bench.tuning.take_over(silent, JobError("unused", ""))
    bench.tuning.claim_job(F, status, "dead")
    other = bench.create(task="other")
    async with bench.server(takeover_s=0.1) as runner:
        failed = await bench.until(job_id, "failed", "succeeded")
        assert (await bench.until(other, "failed", "succeeded")).status == "succeeded"
        assert runner.stats.num_failed == 1
    assert failed.error.code == "server_stopped"
    assert failed.error.message.startswith("one server after another stopped while it ")
    assert bench.control.began_at == [0]
    assert "The server that worked on it (dead) has stopped." in bench.messages(job_id)


@pytest.mark.parametrize("name", ["heartbeats", "take_over"])
async def test_nobody_is_taken_for_dead_because_the_store_was_away(bench, monkeypatch, name):
    """Whoever reads first after an outage gives the others the time to beat again."""

    def away(self, *args):
        raise StoreUnavailable("The disk is full.")

    job_id = bench.create()
    bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "elsewhere")
    runner = fake_runner(bench.store, BASE, TaskCatalog(bench.store, BASE), bench.control, takeover_s=0.2)
    await runner._take_over()
    await asyncio.sleep(0.3)
    with monkeypatch.context() as outage, pytest.raises(StoreUnavailable):
        outage.setattr(TuningStore, name, away)
        await runner._take_over()
    await runner._take_over()
    assert bench.job(job_id).claimed_by == "elsewhere"
    await asyncio.sleep(0.3)
    await runner._take_over()
    assert bench.job(job_id).claimed_by is None


async def test_two_servers_share_the_jobs(bench):
    ids = [bench.create(task=f"task-{number}") for number in range(6)]
    async with bench.server(owner="a"), bench.server(owner="b"):
        for job_id in ids:
            assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
    assert sorted(bench.control.began_at) == [0] * 6, "no job was run twice"


async def test_a_run_may_begin_while_its_validation_ends(bench, monkeypatch, caplog):
    """Each is a claim of its own: the end of one does not forget the other, and the runner ends when it is told to."""
    mark_valid, began = TuningStore.mark_valid, threading.Event()

    def slow(self, *args):
        mark_valid(self, *args)
        assert began.wait(30)

    monkeypatch.setattr(TuningStore, "mark_valid", slow)
    bench.control.on_step = lambda step: began.set()
    done = await bench.run(bench.create())
    assert done.status == "succeeded"
    assert "stumbled" not in caplog.text


async def test_the_store_may_be_away_for_a_while(bench, monkeypatch):
    """Beats, checkpoints and the publication itself fail for a time: nothing is lost, and the job ends once."""
    failing = {"save_checkpoint": 2, "beat": 3, "complete_job": 2, "load_file": 1, "release_job": 2}

    def shaky(name):
        original = getattr(TuningStore, name)

        def call(self, *args, **kwargs):
            if failing[name] > 0:
                failing[name] -= 1
                raise StoreUnavailable("The disk is full.")
            return original(self, *args, **kwargs)

        return call

    for name in failing:
        monkeypatch.setattr(TuningStore, name, shaky(name))
    monkeypatch.setattr("server.jobs.conclusion._RETRY_S", 0.01)
    job_id = bench.create()
    done = await bench.run(job_id)
    assert (done.status, done.version) == ("succeeded", 1)
    assert not any(failing[name] for name in ("complete_job", "save_checkpoint", "load_file", "release_job"))


async def test_a_failure_is_told_whole_however_often_it_has_to_be_written(bench, monkeypatch):
    """What the run told before it failed is in the log, in order, though beats and the first writes did not pass."""
    fail_job, left = TuningStore.fail_job, [1, 1]

    def away(self, *args, **kwargs):
        raise StoreUnavailable("The disk is full.")

    def shaky(self, *args, **kwargs):
        return away(self) if left and left.pop() else fail_job(self, *args, **kwargs)

    def diverge(step: int) -> None:
        if step == 3:
            raise TuningDiverged("the loss is not finite")

    monkeypatch.setattr(TuningStore, "beat", away)
    monkeypatch.setattr(TuningStore, "fail_job", shaky)
    bench.control.on_step = diverge
    job_id = bench.create()
    assert (await bench.run(job_id)).status == "failed"
    told = [text.partition(":")[0] for text in bench.messages(job_id)]
    assert told[-4:] == ["Step 1/5", "Step 2/5", "Step 3/5", "The job failed"]


async def test_a_failure_ends_its_job_though_what_was_told_before_cannot_be_written(bench):
    """JSON has no word for an infinite loss."""

    def diverge(step: int) -> None:
        if step == 3:
            raise TuningDiverged("the loss is not finite")

    bench.control.on_step, bench.control.loss = diverge, lambda step: math.inf
    failed = await bench.run(bench.create(), checkpoint_interval_s=1000.0)
    assert (failed.status, failed.error.code) == ("failed", "diverged")


async def test_an_engine_that_stops_gives_the_job_back(bench):
    calls = []

    def stop_once(step: int) -> None:
        calls.append(step)
        if len(calls) == 2:
            raise EngineStopped("the engine has stopped")

    bench.control.on_step = stop_once
    done = await bench.run(bench.create())
    assert done.status == "succeeded"
    assert len(bench.control.began_at) == 2


def test_a_request_is_read_back_as_it_was():
    request = JobRequest(
        TuningPlan(learning_rate="auto", num_steps=7),
        Manifest(template="{input}", labels=("a", "b"), stop=("\n",), defaults={"max_tokens": 4}),
        promote=True,
        gate=Gate("macro_f1", 0.5, True),
        metadata={"who": "me"},
    )
    assert request_from_json(json.loads(json.dumps(request_to_json(request)))) == request


async def test_what_tuning_came_to_is_counted(bench):
    """Jobs by state and outcome, steps of the running one and of all, and seconds of the engine's thread."""
    gateway = Gateway(step=3)
    bench.control.on_step = gateway
    job_id = bench.create()
    async with bench.server() as runner:
        await gateway.until_reached()
        during = runner.stats
        assert (during.num_validating, during.num_running) == (0, 1)
        assert (during.step, during.num_steps) == (3, 5)
        gateway.open.set()
        await bench.until(job_id, "succeeded")
        failed = bench.create(lines=b"not json")
        await bench.until(failed, "failed")
        async with asyncio.timeout(30):
            while runner.stats.num_validating or not (stats := runner.stats).num_failed:
                await asyncio.sleep(0.005)
    assert (stats.num_succeeded, stats.num_failed, stats.num_cancelled) == (1, 1, 0)
    assert (stats.num_running, stats.step, stats.num_steps_done) == (0, 0, 5)
    assert stats.busy_s > 0


async def test_a_cancelled_job_is_counted_as_such(bench):
    """By the server that worked on it."""
    gateway = Gateway(step=1)
    bench.control.on_step = gateway
    job_id = bench.create()
    async with bench.server() as runner:
        await gateway.until_reached()
        bench.tuning.cancel_job(F, job_id)
        gateway.open.set()
        async with asyncio.timeout(30):
            while not runner.stats.num_cancelled:
                await asyncio.sleep(0.005)
    assert runner.stats.num_succeeded == 0


async def test_answers_that_the_tokenizer_changes_are_told_and_fail_nothing(bench):
    """Those that it gives back as another text could never match to the letter."""
    lines = [json.dumps({"prompt": f"a {n}", "completion": "yes<end>"}) for n in range(20)]
    job_id = bench.create(lines=lines)
    assert (await bench.run(job_id)).status == "succeeded"
    (told,) = [text for text in bench.messages(job_id) if "do not survive" in text]
    assert told.startswith("20 answers do not survive this tokenizer")
    assert "line 1 has 'yes<end>', and 'yes' is what is learnt and answered." in told
