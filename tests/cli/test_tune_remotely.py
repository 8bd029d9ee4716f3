"""`softprompt tune --url`: a server's jobs driven and watched over a real socket."""

from __future__ import annotations

import json
import re
import threading

import httpx
import pytest

from prompts_store import maintenance
from prompts_store.tuning_store import TuningStore
from server.cli.tuning import remote
from server.tuning.errors import EvaluationFailed, TuningDiverged
from tests.api.live_server import live_server
from tests.fakes.checkpoints import BASE
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.services import fake_services
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import PNG, RunControl
from tests.system.live_server import live_server as demo_server

ROWS = [{"text": f"input {number}", "label": "yes" if number % 2 else "no"} for number in range(20)]


@pytest.fixture
def runs():
    """What a test does to tuning runs, which are fakes."""
    return RunControl()


@pytest.fixture
def url(backend, runs, monkeypatch):
    """A server over the test's database whose jobs are done by fakes; it is asked again at once."""
    monkeypatch.setattr(remote, "POLL_INTERVAL_S", 0.01)
    engine = ScriptedEngine(script=lambda request, choice: (), eos_token_ids=byte_level().eos_token_ids())
    with live_server(fake_services(backend.store, engine, runs=runs)) as url:
        yield url


@pytest.fixture
def tune(softprompt, url, tmp_path):
    """Run `softprompt tune mood` on that server."""
    examples = tmp_path / "examples.jsonl"
    examples.write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def run(*arguments):
        return softprompt(
            "tune", "mood", "--train", examples, "--url", url, "--steps", 5, "--virtual-tokens", 4, *arguments
        )

    return run


def jobs_of(url):
    return httpx.get(f"{url}/v1/fine_tuning/jobs").json()["data"]


def interrupt_at(monkeypatch, num_steps):
    """Let Ctrl-C be pressed once the command has seen so many steps."""
    take = remote.WatchedJob._take

    def watched(self, news):
        told = take(self, news)
        if self.step >= num_steps:
            raise KeyboardInterrupt
        return told

    monkeypatch.setattr(remote.WatchedJob, "_take", watched)


def test_a_job_is_asked_for_watched_and_saved(tune, url, tmp_path):
    """The options arrive, the steps are told, and the folder has what the server's version has."""
    folder = tmp_path / "saved"
    code, out, err = tune(
        "--seed", 7, "--note", "try", "--template", "{input} =>\\n", "--max-tokens", 3, "--min-score", 0.5,
        "--learning-rate", 0.25, "--save", folder, "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    assert (told["task"], told["version"], told["promoted"], told["num_steps"]) == ("mood", 1, True, 5)
    assert told["scores"][0]["exact_match"] == 1.0
    assert told["news"] == ["the gate opens: exact_match 1.000", f"saved in {folder}", "mood@1, in production"]
    assert "step 5: validation loss 0.100, exact match 1.000, the best so far" in err
    assert re.search(r"^step \d of 5: loss \d", err, re.MULTILINE)
    assert "2 of 20 examples are held out for validation." in err
    (job,) = jobs_of(url)
    assert (job["seed"], job["hyperparameters"]["learning_rate"], job["gate"]["min_score"]) == (7, 0.25, 0.5)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["template"], manifest["note"], manifest["defaults"]["max_tokens"]) == ("{input} =>\n", "try", 3)
    assert manifest["labels"] == ["no", "yes"]
    assert (folder / "adapter_model.safetensors").stat().st_size
    assert (folder / "tuning.png").read_bytes() == PNG
    assert httpx.get(f"{url}/v1/tasks/mood/versions/1").json()["digest"] == told["digest"]


def test_a_job_that_fails_ends_the_command_with_its_reason(tune, runs):
    """One line on standard error, exit code 1, as for a run on this machine."""

    def diverge(step):
        raise TuningDiverged("the loss became infinite")

    runs.on_step = diverge
    code, out, err = tune()
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "softprompt: learning_rate: the loss became infinite"


def test_ctrl_c_leaves_the_job_to_the_server_and_resume_watches_it_again(tune, url, runs, monkeypatch):
    """The word says which job and how to come back; the second command ends with the version."""
    opened = threading.Event()
    runs.on_step = lambda step: step < 3 or opened.wait(30)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        code, out, err = tune()
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("softprompt: detached after step ")
    assert "of 5; ftjob-1 continues on the server, --resume watches it again" in err.splitlines()[-1]
    assert jobs_of(url)[0]["status"] == "running"
    opened.set()
    code, out, err = tune("--resume")
    assert code == 0, err
    assert "step 5: validation loss" in err
    assert "mood@1, in production" in out
    code, out, _ = tune("--resume")
    assert (code, "mood@1, in production" in out) == (0, True), "a job that has ended meanwhile is told all the same"
    assert len(jobs_of(url)) == 1


def test_a_paused_job_is_woken_by_resume(tune, url, runs, monkeypatch):
    """Whoever paused it, the same command with --resume brings it to its end."""
    opened = threading.Event()
    runs.on_step = lambda step: step < 3 or opened.wait(30)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        tune()
    assert httpx.post(f"{url}/v1/fine_tuning/jobs/ftjob-1/pause").json()["status"] == "paused"
    opened.set()
    code, out, err = tune("--resume")
    assert code == 0, err
    assert "mood@1" in out


def test_a_failed_job_that_can_go_on_does_so_by_resume(tune, url, runs, backend):
    """One that cannot is told of once more."""
    evaluate_on = runs.on_evaluate

    def delete(name: str) -> None:
        backend.store.create_task(BASE.fingerprint, "mood")
        backend.store.delete_task(BASE.fingerprint, "mood")

    runs.on_evaluate = delete
    code, _, err = tune()
    assert (code, err.splitlines()[-1]) == (
        1, 'softprompt: The task "mood" was deleted, so nothing is published to it.',
    )  # fmt: skip
    runs.on_evaluate = evaluate_on
    code, out, err = tune("--resume")
    assert code == 0, err
    assert "mood@1, in production" in out


def test_a_failed_job_that_cannot_go_on_is_told_again_by_resume(tune, runs):
    runs.on_step = raising(TuningDiverged("the loss is NaN"))
    code, _, err = tune()
    assert (code, err.splitlines()[-1]) == (1, "softprompt: learning_rate: the loss is NaN")
    assert tune("--resume")[2].splitlines()[-1] == err.splitlines()[-1]


def test_a_result_that_could_not_be_scored_is_told_without_scores(tune, runs):
    """The reason is on standard error, and the version is not in production."""
    runs.on_evaluate = raising(EvaluationFailed("the engine failed while mood (new) was evaluated", code="x"))
    code, out, err = tune()
    assert code == 0, err
    assert "mood@1\n" in out
    assert "There are no scores: the engine failed while mood (new) was evaluated." in err
    assert json.loads(tune("--resume", "--json")[1])["scores"] == []


def raising(error):
    def call(*_):
        raise error

    return call


def test_ctrl_c_can_end_the_job(tune, url, runs, monkeypatch):
    """With --cancel-on-interrupt nothing goes on, and there is nothing to come back to."""
    opened = threading.Event()
    runs.on_step = lambda step: step < 3 or opened.wait(30)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        code, _, err = tune("--cancel-on-interrupt")
    opened.set()
    assert code == 130
    assert err.splitlines()[-1].startswith("softprompt: cancelled ftjob-1 after step ")
    assert jobs_of(url)[0]["status"] == "cancelled"
    code, _, err = tune("--resume")
    assert (code, err.splitlines()[-1]) == (1, "softprompt: ftjob-1 was cancelled")


def test_a_job_that_somebody_else_cancels_ends_the_command(tune, url, runs):
    """Exit code 1: there is no version."""
    runs.on_step = lambda step: httpx.post(f"{url}/v1/fine_tuning/jobs/ftjob-1/cancel")
    code, out, err = tune()
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "softprompt: ftjob-1 was cancelled"


def test_a_job_that_is_refused_leaves_no_file(softprompt, url, backend, tmp_path):
    """The server's own words, and no upload without a job."""
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    code, _, err = softprompt("tune", "tiny-base", "--train", file, "--url", url)
    assert (code, err.count("\n")) == (1, 1)
    assert "a name of the base model" in err
    assert TuningStore(backend.store).list_files() == ()
    assert maintenance.verify(backend.store).problems == ()


def test_there_is_nothing_to_watch_without_a_job(tune):
    """--resume makes none."""
    assert tune("--resume") == (1, "", "softprompt: mood has no job to resume\n")


def test_a_server_that_restarts_is_waited_for(tune, monkeypatch):
    """Errors of a server that is away are no end of its job."""
    failures = iter([httpx.ConnectError("refused"), httpx.ReadError("reset")])
    request = httpx.Client.request

    def shaky(client, method, path, **more):
        if path.endswith("/events") and (failure := next(failures, None)) is not None:
            raise failure
        return request(client, method, path, **more)

    monkeypatch.setattr(httpx.Client, "request", shaky)
    code, _, err = tune()
    assert code == 0, err
    assert next(failures, None) is None


@pytest.mark.parametrize(
    "option", [("--preview", 1), ("--no-publish", "--save", "x"), ("--micro-batch-tokens", 64), ("--threads", 1)]
)
def test_options_of_this_machine_do_not_go_with_a_server(tune, url, option):
    """Wrong usage, before anything is sent."""
    code, _, err = tune(*option)
    assert code == 2
    assert err == f"softprompt: {option[0]} applies only to a run on this machine; leave it out with --url\n"
    assert jobs_of(url) == []


@pytest.mark.slow
# PEFT reads a property that transformers is about to rename.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_server_and_this_machine_come_to_the_same_version(softprompt, tmp_path):
    """The same options, examples and base model: the same content digest, and the second version follows the first."""
    examples = tmp_path / "examples.jsonl"
    examples.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tune = ("tune", "mood", "--train", examples, "--steps", 4, "--batch-size", 4, "--virtual-tokens", 4, "--json")
    here = softprompt(*tune, "--data-dir", tmp_path / "here")
    assert here[0] == 0, here[2]
    with demo_server(data_dir=tmp_path / "there", threads=1) as server:
        there = softprompt(*tune, "--url", server.url)
        assert there[0] == 0, there[2]
        other = softprompt(*tune, "--url", server.url, "--seed", 1)
        manifest = httpx.get(f"{server.url}/v1/tasks/mood/versions/2").json()["manifest"]
    assert json.loads(there[1])["digest"] == json.loads(here[1])["digest"]
    assert (json.loads(other[1])["version"], manifest["parent_version"]) == (2, 1)


# --- distillations ----------------------------------------------------------------------------------------------------


@pytest.fixture
def distil(softprompt, backend, runs, monkeypatch, tmp_path):
    """Run `softprompt distil mood` on a server whose base model answers everything with a word."""
    monkeypatch.setattr(remote, "POLL_INTERVAL_S", 0.01)
    tokenizer = byte_level()
    answer = (*tokenizer.encode("yes", add_special_tokens=False), tokenizer.eos_token_id)
    engine = ScriptedEngine(lambda request, choice: answer, eos_token_ids=tokenizer.eos_token_ids())
    (tmp_path / "prompt.txt").write_text("Answer in one word, and say yes where the text begins with a vowel.")
    (tmp_path / "inputs.txt").write_text("".join(f"input {number}\n" for number in range(20)))
    with live_server(fake_services(backend.store, engine, runs=runs)) as url:

        def run(*arguments):
            return *softprompt("distil", "mood", "--url", url, "--steps", 5, *arguments), url

        yield run


def test_a_distillation_on_a_server_is_a_job_of_that_method(distil, tmp_path):
    """The instruction and the hyperparameters arrive, and the answers are told."""
    files = ("--instruction", tmp_path / "prompt.txt", "--inputs", tmp_path / "inputs.txt")
    code, out, err, url = distil(*files, "--virtual-tokens", 4, "--max-answer-tokens", 3)
    assert code == 0, err
    assert "The teacher has answered 20 inputs." in err
    (job,) = jobs_of(url)
    asked = job["method"]["distillation"]
    assert (asked["instruction"][:6], asked["max_answer_tokens"], asked.get("num_inputs")) == ("Answer", 3, None)
    assert (job["method"]["type"], job["hyperparameters"]["num_virtual_tokens"]) == ("distillation", 4)
    assert "mood@1" in out


def test_a_document_goes_to_a_server_as_the_training_file(distil, tmp_path):
    """What the base model writes about it is of no use here, and the job says so."""
    (tmp_path / "report.txt").write_text("The mill of the town was built in 1612 by a miller of the name of Ada. " * 2)
    code, _, err, url = distil("--document", tmp_path / "report.txt", "--num-inputs", 10, "--max-answer-tokens", 8)
    assert code == 1
    assert "different inputs after 40 drafts" in err
    (job,) = jobs_of(url)
    assert (job["method"]["distillation"]["document"], job["error"]["code"]) == (True, "too_few_inputs")


def test_a_server_distils_no_instruction_without_a_file(distil, tmp_path):
    """A job has a training file, so the command asks for one before it uploads anything."""
    code, _, err, url = distil("--instruction", tmp_path / "prompt.txt")
    assert (code, jobs_of(url)) == (2, [])
    assert "with --url, give --inputs, or --document" in err
