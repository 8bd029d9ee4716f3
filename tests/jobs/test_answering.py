"""Jobs of distillation over fake runs: the teacher answers, its answers are kept, and the job ends in a version."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace

import pytest

from prompts_store.manifest import Manifest
from server.jobs.request import JobRequest, request_from_json, request_to_json
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.plan import Initialisation, Method, TuningPlan
from server.tuning.teaching import Distillation
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import FakeRun
from tests.jobs.bench import Bench

END = byte_level().eos_token_id
YES = byte_level().encode("yes", add_special_tokens=False)
INPUTS = "".join(f"input {number}\n" for number in range(20)).encode()
PLAN = TuningPlan(
    method=Method.PROMPT_TUNING, initialisation=Initialisation.RANDOM, num_steps=3, num_virtual_tokens=4, seed=3
)
REQUEST = JobRequest(PLAN, Manifest(template="{input} ->"), distillation=Distillation("Say yes or no.\n", 8))


class DistilledRun(FakeRun):
    """A fake run whose state has the answers of its job, as that of a real one."""

    def __init__(self, job, state, control) -> None:
        self.answers = job.answers
        assert {one.completion for one in job.data.training} == {"yes"}
        super().__init__(job, None if state is None else unpack_state(state).run, control)

    def checkpoint(self) -> bytes:
        return pack_state(DistillationState(self.answers, super().checkpoint()))


class Distilling(Bench):
    """A bench whose engine answers "yes" to every prompt, and whose servers share it."""

    def __init__(self, store) -> None:
        super().__init__(store)
        self.engine = ScriptedEngine(lambda request, choice: (*YES, END), frozenset({END}))
        self.control.build = lambda job, state: DistilledRun(job, state, self.control)

    def create(self, request=REQUEST, lines=INPUTS, **options) -> int:
        self.tuning.add_file("f.txt", "fine-tune", [lines])
        return super().create(request, lines=lines, **options)

    @property
    def num_asked(self) -> int:
        return len(self.engine.requests)


@pytest.fixture
def bench(store, monkeypatch):
    made = Distilling(store)
    add_file = made.tuning.add_file
    monkeypatch.setattr(made.tuning, "add_file", lambda name, *args: add_file("f.txt", *args))
    monkeypatch.setattr("tests.fakes.tuning_run.JobPublisher", _publisher_with(made.engine))
    return made


def _publisher_with(engine):
    from server.jobs.publisher import JobPublisher

    def make(store, tuning, base, _, *args, **options):
        return JobPublisher(store, tuning, base, engine, *args, **options)

    return make


async def test_the_run_learns_the_answers_of_its_teacher(bench):
    """Greedy requests behind the instruction, which yield to others. The version has no instruction in its template."""
    done = await bench.run(bench.create())
    assert (done.status, done.error) == ("succeeded", None)
    assert bench.num_asked == 20
    assert all(request.is_batch and request.kind.sampling.is_greedy for request in bench.engine.requests)
    prompts = {byte_level().decode(request.prompt_token_ids) for request in bench.engine.requests}
    assert prompts == {f"Say yes or no.\ninput {number} ->" for number in range(20)}
    manifest = bench.store.get_version(bench.job(done.id).fingerprint, "mood", 1).manifest
    assert (manifest.template, manifest.defaults) == ("{input} ->", {"temperature": 0.0, "max_tokens": 8})
    told = bench.messages(done.id)
    assert "The teacher answers 20 inputs." in told
    assert "The teacher has answered 20 inputs." in told


async def test_a_server_that_stops_between_answers_leaves_them_to_the_next(bench):
    """Only the missing ones are asked for again."""
    job_id = bench.create()
    bench.engine.script = _until(bench, 17)
    async with bench.server(owner="a"):
        async with asyncio.timeout(30):
            while bench.num_asked < 17 or not bench.tuning.list_checkpoints(bench.job(job_id).fingerprint, job_id):
                await asyncio.sleep(0.005)
    assert bench.job(job_id).status == "queued"
    before = bench.num_asked
    bench.engine.gate.set()
    bench.engine.script = lambda request, choice: (*YES, END)
    done = await bench.run(job_id, owner="b")
    assert (done.status, done.error) == ("succeeded", None)
    kept = next(text for text in bench.messages(job_id) if "are answered already" in text)
    num_missing = int(kept.split()[3])
    assert bench.num_asked - before == num_missing < 20


def _until(bench, num_requests: int, script=lambda request, choice: (*YES, END)):
    """A script that closes the engine's gate at this request: as many as run at once are answered before."""
    num = 0

    def until(request, choice):
        nonlocal num
        num += 1
        if num == num_requests:
            bench.engine.gate.clear()
        return script(request, choice)

    return until


async def test_a_run_that_is_resumed_asks_for_nothing(bench):
    """Its state has the answers: a job paused in training goes on at its step."""
    from tests.jobs.bench import Gateway, pause_at

    bench.control.on_step = gate = Gateway(2)
    job_id = bench.create()
    async with bench.server() as runner:
        await pause_at(gate, bench, runner, job_id)
        asked = bench.num_asked
        bench.tuning.resume_job(bench.job(job_id).fingerprint, job_id)
        runner.nudge()
        assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
    assert bench.num_asked == asked == 20
    assert bench.control.began_at[0] == 0
    assert bench.control.began_at[1] > 0


STUDY = replace(REQUEST, distillation=replace(REQUEST.distillation, num_inputs=20))


def _author(request, choice):
    """Writes an input of its own for each seed where an input begins, and answers "yes"."""
    sampling = request.kind.sampling
    if sampling.is_greedy:
        return (*YES, END)
    return (*byte_level().encode(f"written {sampling.seed % 100} ->", add_special_tokens=False), END)


async def test_the_base_model_writes_the_inputs_that_are_missing(bench):
    """One line is enough of a file. What was written is the version's data, and a part of it is held out."""
    bench.engine.script = _author
    done = await bench.run(bench.create(STUDY, lines=b"mine\n"))
    assert (done.status, done.error) == ("succeeded", None)
    assert "The base model writes 19 inputs." in bench.messages(done.id)
    greedy = [one for one in bench.engine.requests if one.kind.sampling.is_greedy]
    asked = {byte_level().decode(request.prompt_token_ids) for request in greedy}
    assert len(asked) == 20
    assert "Say yes or no.\nmine ->" in asked
    assert sum("\nwritten " in prompt for prompt in asked) == 19
    manifest = bench.store.get_version(bench.job(done.id).fingerprint, "mood", 1).manifest
    assert manifest.training_data_digest != hashlib.sha256(b"mine\n").hexdigest()


async def test_drafts_that_were_kept_are_not_written_again(bench):
    """A server that stops among the drafts leaves them to the next."""
    job_id = bench.create(STUDY, lines=b"mine\n")
    bench.engine.script = _until(bench, 17, _author)
    async with bench.server(owner="a"):
        async with asyncio.timeout(30):
            while bench.num_asked < 17 or not bench.tuning.list_checkpoints(bench.job(job_id).fingerprint, job_id):
                await asyncio.sleep(0.005)
    before = bench.num_asked
    bench.engine.gate.set()
    bench.engine.script = _author
    done = await bench.run(job_id, owner="b")
    assert (done.status, done.error) == ("succeeded", None)
    kept = next(text for text in bench.messages(job_id) if "drafts are there already" in text)
    assert bench.num_asked - before == 20 + 19 - int(kept.split(";")[1].split()[0])


async def test_a_base_model_that_repeats_itself_fails_the_job(bench):
    """With a sentence, and nothing is left to resume."""
    bench.engine.script = lambda request, choice: (*YES, END)
    done = await bench.run(bench.create(STUDY, lines=b"mine\n"))
    assert (done.status, done.error.code) == ("failed", "too_few_inputs")
    assert done.error.param == "method.distillation.num_inputs"
    assert "there are 2 different inputs after 76 drafts" in done.error.message
    assert bench.store.list_tasks(done.fingerprint) == ()


async def test_a_silent_teacher_fails_the_job_with_a_sentence(bench):
    """Nothing is published, and nothing is left to resume."""
    bench.engine.script = lambda request, choice: (END,)
    done = await bench.run(bench.create())
    assert done.status == "failed"
    assert (done.error.code, done.error.param) == ("empty_answers", "method.distillation.instruction")
    assert done.error.message.startswith("the teacher answers nothing to any of the 20 inputs")
    assert bench.store.list_tasks(done.fingerprint) == ()


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (b"\n\n", "the file has no inputs: every line is empty"),
        (b"same\n" * 30, "the file has 1 different inputs, and a distillation needs 10"),
        (b"a\n" * 9 + b"long " * 200 + b"\n" + INPUTS, "and there is room for"),
    ],
)
async def test_inputs_that_cannot_be_answered_fail_the_job(bench, lines, sentence):
    """Before the teacher is asked for anything."""
    done = await bench.run(bench.create(lines=lines))
    assert (done.status, done.error.param) == ("failed", "training_file")
    assert sentence in done.error.message
    assert bench.num_asked == 0


def test_a_request_without_a_distillation_is_written_as_before():
    """Digests of earlier jobs stay."""
    assert "distillation" not in request_to_json(replace(REQUEST, distillation=None))
    assert request_from_json(json.loads(json.dumps(request_to_json(REQUEST)))) == REQUEST


# --- documents --------------------------------------------------------------------------------------------------------

DOCUMENT = "\n\n".join(f"Fact {number}: the tower of town {number} is {number} metres high." for number in range(3))
OF_DOCUMENT = replace(REQUEST, distillation=Distillation(DOCUMENT, 8, num_inputs=12, is_document=True))


def _asking(request, choice):
    """A question where one is asked for, else "yes"."""
    if request.kind.sampling.is_greedy:
        return (*YES, END)
    text = f" tower high, town {request.kind.sampling.seed}?"
    return (*byte_level().encode(text, add_special_tokens=False), END)


async def test_the_questions_about_a_document_are_written_first(bench):
    """About each of its chunks in turn. A tenth is held out, and the teacher has the whole document."""
    bench.engine.script = _asking
    done = await bench.run(bench.create(OF_DOCUMENT, lines=DOCUMENT.encode()))
    assert (done.status, done.error) == ("succeeded", None)
    asked = [request for request in bench.engine.requests if not request.kind.sampling.is_greedy]
    answered = [request for request in bench.engine.requests if request.kind.sampling.is_greedy]
    assert len(asked) >= 12
    assert all(request.is_batch for request in bench.engine.requests)
    assert len({byte_level().decode(request.prompt_token_ids) for request in answered}) == 12
    assert all(byte_level().decode(request.prompt_token_ids).startswith(DOCUMENT) for request in answered[:12])
    told = bench.messages(done.id)
    assert "The base model writes 12 inputs." in told
    assert "The teacher has answered 12 inputs." in told


async def test_a_base_model_that_asks_nothing_fails_the_job(bench):
    """With the number of questions that it wrote."""
    done = await bench.run(bench.create(OF_DOCUMENT, lines=DOCUMENT.encode()))
    assert (done.status, done.error.code, done.error.param) == (
        "failed",
        "too_few_inputs",
        "method.distillation.num_inputs",
    )
    assert done.error.message.startswith("there are 0 different inputs after 48 drafts of the base model")
    assert bench.store.list_tasks(done.fingerprint) == ()


async def test_questions_that_are_written_are_not_written_again(bench):
    """A server that stops among them leaves its drafts to the next."""
    bench.engine.script = _until(bench, 17)
    job_id = bench.create(OF_DOCUMENT, lines=DOCUMENT.encode())
    async with bench.server(owner="a"):
        async with asyncio.timeout(30):
            while bench.num_asked < 17 or not bench.tuning.list_checkpoints(bench.job(job_id).fingerprint, job_id):
                await asyncio.sleep(0.005)
    before = bench.num_asked
    bench.engine.gate.set()
    bench.engine.script = _asking
    done = await bench.run(job_id, owner="b")
    assert (done.status, done.error) == ("succeeded", None)
    seeds = [request.kind.sampling.seed for request in bench.engine.requests[before:]]
    assert seeds[0] != 0, "the first draft was kept"


def test_a_request_with_a_document_comes_back_from_json():
    """One without has no field for it, so digests of earlier jobs stay."""
    assert request_from_json(json.loads(json.dumps(request_to_json(OF_DOCUMENT)))) == OF_DOCUMENT
    assert "is_document" not in request_to_json(REQUEST)["distillation"]
