"""Files and tuning jobs over HTTP: the stock `openai` client drives them; bad input is refused and leaves nothing."""

import asyncio
import contextlib
import json
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import openai
import pytest
from sqlalchemy import event

from prompts_store import maintenance
from prompts_store.manifest import Manifest
from prompts_store.tuning_records import NewJob
from prompts_store.tuning_store import TuningStore
from server.jobs.request import JobRequest, TuningDefaults, request_to_json
from server.telemetry.state_metrics import TuningStats
from server.tuning.plan import Defaults, TuningPlan
from tests.api.conftest import client_of, error_of
from tests.api.live_server import live_server
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import PNG

ROWS = [{"text": f"input {n}", "label": "yes" if n % 2 else "no"} for n in range(20)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
JOB = {"model": "tiny-base", "suffix": "mood", "hyperparameters": {"num_steps": 5, "num_virtual_tokens": 4}}


@pytest.fixture
def openai_client(services):
    with live_server(services) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        yield client


def upload(client, data: bytes = JSONL):
    return client.files.create(file=("train.jsonl", data), purpose="fine-tune")


def wait(client, job_id, *statuses):
    deadline = time.monotonic() + 30
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in statuses:
        assert time.monotonic() < deadline, job
        time.sleep(0.01)
    return job


# --- the stock client -------------------------------------------------------------------------------------------------


def test_files_are_created_listed_read_and_deleted(openai_client):
    """As OpenAI's, over pages."""
    files = [upload(openai_client) for _ in range(3)]
    assert (files[0].bytes, files[0].filename, files[0].purpose) == (len(JSONL), "train.jsonl", "fine-tune")
    assert [file.id for file in openai_client.files.list(limit=2)] == [file.id for file in files[::-1]]
    assert openai_client.files.retrieve(files[1].id) == files[1]
    assert openai_client.files.content(files[1].id).read() == JSONL
    assert openai_client.files.delete(files[1].id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        openai_client.files.retrieve(files[1].id)
    assert gone.value.code == "file_not_found"


def test_a_job_from_a_file_to_answers(openai_client):
    """Every field that the client's types need, and ours; the version is live once the job has succeeded."""
    file = upload(openai_client)
    job = openai_client.fine_tuning.jobs.create(
        **JOB,
        training_file=file.id,
        seed=3,
        metadata={"who": "me"},
        extra_body={"labels": ["yes", "no"], "template": "{input} ->", "gate": {"min_score": 0.5}, "note": "first"},
    )
    assert (job.status, job.training_file, job.organization_id) == ("validating_files", file.id, "softprompt-server")
    done = wait(openai_client, job.id, "succeeded", "failed")
    assert (done.status, done.fine_tuned_model, done.trained_tokens, done.error) == ("succeeded", "mood@1", 50, None)
    assert (done.seed, done.metadata, done.task, done.metrics["exact_match"]) == (3, {"who": "me"}, "mood", 1.0)
    assert done.method.supervised.hyperparameters.n_epochs == "auto"
    assert openai_client.completions.create(model=done.fine_tuned_model, prompt="input 1").choices[0].text
    assert [one.id for one in openai_client.fine_tuning.jobs.list()] == [job.id]
    events = list(openai_client.fine_tuning.jobs.list_events(job.id, limit=5))
    assert events[-1].message == "The job was created."
    assert {event.type for event in events} == {"message", "metrics"}
    checkpoints = list(openai_client.fine_tuning.jobs.checkpoints.list(job.id, limit=2))
    assert checkpoints[0].step_number == 5
    assert checkpoints[0].fine_tuning_job_id == job.id
    assert openai_client.get("/tasks/mood/versions/1/plot.png", cast_to=openai.HttpxBinaryResponseContent).read() == PNG
    version = openai_client.get("/tasks/mood/versions/1", cast_to=object)
    assert version["manifest"]["note"] == "first"
    assert version["manifest"]["training_data_digest"] == file.sha256


def test_a_job_without_a_seed_has_that_of_the_command(openai_client):
    """The same job twice gives the same soft prompt."""
    file = upload(openai_client)
    assert openai_client.fine_tuning.jobs.create(**JOB, training_file=file.id).seed == TuningPlan().seed == 0


@pytest.mark.parametrize(("given", "decided"), [("auto", "auto"), (2.5, 2.5), (3, 3.0)])
def test_the_learning_rate_multiplier_is_openais(openai_client, given, decided):
    """A number multiplies the default rate; the job says which."""
    job = openai_client.fine_tuning.jobs.create(
        model="tiny-base",
        suffix="mood",
        training_file=upload(openai_client).id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"learning_rate_multiplier": given}}},
    )
    assert job.hyperparameters.learning_rate_multiplier == decided
    assert job.method.supervised.hyperparameters.learning_rate_multiplier == decided


@pytest.mark.parametrize(
    ("given", "max_extensions", "initialisation"),
    [
        ({}, 2, "SAMPLE_VOCAB"),
        ({"num_steps": 5}, 0, "SAMPLE_VOCAB"),
        ({"n_epochs": 1.0, "max_extensions": 1, "init_text": "say it"}, 1, "TEXT"),
        ({"n_epochs": "auto", "method": "PREFIX_TUNING"}, 2, "SAMPLE_VOCAB"),
    ],
)
def test_a_job_says_what_was_decided_for_it(openai_client, given, max_extensions, initialisation):
    """A run of default length may be extended twice; a text implies that the virtual tokens start from it."""
    file = upload(openai_client)
    job = openai_client.fine_tuning.jobs.create(**{**JOB, "hyperparameters": given}, training_file=file.id)
    assert job.hyperparameters.max_extensions == max_extensions
    assert job.hyperparameters.initialisation == initialisation


def test_a_job_of_an_earlier_release_is_shown_with_its_own_rules(openai_client, services, store):
    """Its plan lacks the latest fields, and its manifest the chat template."""
    file = upload(openai_client)
    request = request_to_json(
        JobRequest(TuningPlan(num_steps=5, defaults=Defaults.FIRST), Manifest(template="{input}"))
    )
    new = NewJob(services.store_access.fingerprint, "old", int(file.id.removeprefix("file-")), None, 0, request)
    record = TuningStore(store).create_job(new, max_unfinished=9, actor="ann")
    job = openai_client.fine_tuning.jobs.retrieve(f"ftjob-{record.id}")
    assert (job.hyperparameters.max_extensions, job.chat_template) == (0, False)


@pytest.mark.parametrize(("template", "has_chat_template"), [(None, True), ("{input} ->", False)])
async def test_the_default_template_of_an_instruct_base_is_its_chat_template(services, template, has_chat_template):
    """The job says so, and a template of its own replaces it."""
    tokenizer = byte_level("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}[assistant]")
    instruct = with_parts(services, tokenizer=tokenizer, tuning_defaults=TuningDefaults(Manifest(chat_template=True)))
    async with client_of(instruct) as client:
        files = {"file": ("train.jsonl", JSONL), "purpose": (None, "fine-tune")}
        file_id = (await client.post("/v1/files", files=files)).json()["id"]
        body = {**JOB, "training_file": file_id, "template": template}
        job = (await client.post("/v1/fine_tuning/jobs", json=body)).json()
        assert (job["template"], job["chat_template"]) == (template, has_chat_template)


def test_jobs_are_paused_resumed_and_cancelled_once(openai_client, runs):
    """What cannot be done to a job is a conflict, said at once."""
    opened = threading.Event()
    runs.on_step = lambda step: opened.wait(30)
    create = openai_client.fine_tuning.jobs
    job = create.create(**JOB, training_file=upload(openai_client).id)
    wait(openai_client, job.id, "running")
    assert create.pause(job.id).status == "paused"
    opened.set()
    assert create.resume(job.id).status == "queued"
    assert wait(openai_client, job.id, "succeeded").fine_tuned_model == "mood@1"
    opened.clear()
    other = create.create(**JOB, training_file=upload(openai_client).id)
    assert create.cancel(other.id).status == "cancelled"
    opened.set()
    for act in (create.cancel, create.pause, create.resume):
        with pytest.raises(openai.ConflictError) as refused:
            act(other.id)
        assert refused.value.code == "job_status_conflict"
    with pytest.raises(openai.NotFoundError):
        create.cancel("ftjob-99")


def test_a_bad_file_fails_its_job_with_the_line(openai_client):
    """In the job's own error, as OpenAI's do."""
    file = upload(openai_client, JSONL + b"{oops\n")
    job = openai_client.fine_tuning.jobs.create(**JOB, training_file=file.id)
    failed = wait(openai_client, job.id, "failed", "succeeded")
    assert (failed.error.code, failed.error.param) == ("bad_line", "training_file")
    assert failed.error.message.startswith("line 21:")


# --- what is refused at the door --------------------------------------------------------------------------------------


@pytest.fixture
async def file_id(client):
    response = await client.post("/v1/files", files={"file": ("a.jsonl", JSONL)}, data={"purpose": "fine-tune"})
    assert response.status_code == 200
    return response.json()["id"]


async def test_a_job_may_name_the_base_model_in_another_spelling(client, file_id):
    """And has its public name."""
    job = await client.post("/v1/fine_tuning/jobs", json=JOB | {"training_file": file_id, "model": "./tiny-base"})
    assert (job.status_code, job.json()["model"]) == (200, "tiny-base")


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "gpt-4o"}, 404, "model_not_found", "model"),
        ({"suffix": None}, 400, "invalid_value", "suffix"),
        ({"suffix": ""}, 400, "invalid_value", "suffix"),
        ({"suffix": "-- ? --"}, 400, "invalid_value", "suffix"),
        ({"suffix": "Tiny Base"}, 409, "name_reserved", None),
        ({"suffix": "tiny-base"}, 409, "name_reserved", None),
        ({"training_file": "file-99"}, 404, "file_not_found", None),
        ({"training_file": "../etc/passwd"}, 404, "file_not_found", None),
        ({"validation_file": "file-1"}, 400, "invalid_value", "validation_file"),
        ({"unknown": 1}, 400, "unknown_parameter", "unknown"),
        ({"hyperparameters": {"unknown": 1}}, 400, "unknown_parameter", "hyperparameters.unknown"),
        ({"hyperparameters": {"num_virtual_tokens": 0}}, 400, "invalid_value", "hyperparameters.num_virtual_tokens"),
        ({"hyperparameters": {"num_virtual_tokens": 255}}, 400, "invalid_value", "hyperparameters.num_virtual_tokens"),
        (
            {"hyperparameters": {"method": "P_TUNING", "encoder_hidden_size": 65_536}},
            400,
            "invalid_value",
            "hyperparameters.encoder_hidden_size",
        ),
        (
            {"hyperparameters": {"encoder_hidden_size": 8}},
            400,
            "invalid_value",
            "hyperparameters.encoder_hidden_size",
        ),
        (
            {"hyperparameters": {"init_text": "once", "initialisation": "LABELS"}},
            400,
            "invalid_value",
            "hyperparameters.init_text",
        ),
        (
            {"hyperparameters": {"method": "P_TUNING", "initialisation": "LABELS"}},
            400,
            "invalid_value",
            "hyperparameters.initialisation",
        ),
        ({"defaults": {"max_tokens": 252}}, 400, "invalid_manifest", "manifest.defaults.max_tokens"),
        ({"hyperparameters": {"n_epochs": -1}}, 400, "invalid_value", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"learning_rate": 1e9}}, 400, "invalid_value", "hyperparameters.learning_rate"),
        *(
            ({"hyperparameters": wrong}, 400, "invalid_value", "hyperparameters.learning_rate_multiplier")
            for wrong in (
                {"learning_rate_multiplier": 0},
                {"learning_rate_multiplier": 1001},
                {"learning_rate_multiplier": 2, "learning_rate": 0.1},
                {"learning_rate_multiplier": 2, "learning_rate": "auto"},
            )
        ),
        ({"hyperparameters": {"initialisation": "TEXT"}}, 400, "invalid_value", "hyperparameters.init_text"),
        (
            {"hyperparameters": {"init_text": "a", "method": "P_TUNING"}},
            400,
            "invalid_value",
            "hyperparameters.init_text",
        ),
        ({"hyperparameters": {"encoder_hidden_size": 8}}, 400, "invalid_value", "hyperparameters.encoder_hidden_size"),
        ({"method": {"type": "dpo"}}, 400, "invalid_value", "method.type"),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {}}}}, 400, "invalid_value", None),
        ({"integrations": [{"type": "wandb"}]}, 400, "unsupported_parameter", "integrations"),
        ({"labels": ["one"]}, 400, "invalid_manifest", "manifest.labels"),
        ({"template": "no mark"}, 400, "invalid_manifest", "manifest.template"),
        ({"gate": {"min_score": 2}}, 400, "invalid_value", "gate.min_score"),
        ({"seed": -1}, 400, "invalid_value", "seed"),
        ({"metadata": {"k": "x" * 600}}, 400, "invalid_value", None),
    ],
)
async def test_a_job_that_makes_no_sense_is_refused_and_none_is_made(client, file_id, changes, status, code, param):
    """With the parameter at fault; nothing is queued."""
    response = await client.post("/v1/fine_tuning/jobs", json={**JOB, "training_file": file_id, **changes})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (status, code), error
    if param is not None:
        assert error["param"] == param
    assert (await client.get("/v1/fine_tuning/jobs")).json()["data"] == []


@pytest.mark.parametrize(("suffix", "task"), [("My Task 1", "my-task-1"), ("mood.2", "mood.2")])
async def test_a_suffix_becomes_the_name_of_a_task(client, file_id, runs, suffix, task):
    """The job says which; a task's name stays as it is."""
    runs.on_step = lambda step: None
    body = {**JOB, "training_file": file_id, "suffix": suffix, "validation_file": ""}
    job = (await client.post("/v1/fine_tuning/jobs", json=body)).json()
    assert (job["task"], job["validation_file"]) == (task, None)


async def test_a_method_that_is_not_done_is_refused_in_our_words(client, file_id):
    """With the one that is."""
    body = {**JOB, "training_file": file_id, "hyperparameters": None, "method": {"type": "dpo", "dpo": {}}}
    error = error_of(await client.post("/v1/fine_tuning/jobs", json=body))
    assert (error["code"], error["param"]) == ("invalid_value", "method.type")
    assert "the parameter 'dpo' is not supported: methods are 'supervised'" in error["message"]


async def test_labels_that_classification_would_refuse_are_refused(limited, store):
    async with limited(max_labels=2) as client:
        response = await client.post("/v1/files", files={"file": ("a", JSONL)}, data={"purpose": "fine-tune"})
        body = {**JOB, "training_file": response.json()["id"], "labels": ["yes", "no", "maybe"]}
        response = await client.post("/v1/fine_tuning/jobs", json=body)
        assert (response.status_code, error_of(response)["param"]) == (400, "labels")


async def test_a_full_queue_takes_no_more(limited, runs):
    """429, until a job ends."""
    opened = threading.Event()
    runs.on_step = lambda step: opened.wait(30)
    async with limited(max_unfinished_jobs=1) as client:
        response = await client.post("/v1/files", files={"file": ("a", JSONL)}, data={"purpose": "fine-tune"})
        body = {**JOB, "training_file": response.json()["id"]}
        first = (await client.post("/v1/fine_tuning/jobs", json=body)).json()["id"]
        response = await client.post("/v1/fine_tuning/jobs", json=body)
        assert (response.status_code, error_of(response)["code"]) == (429, "tuning_queue_full")
        assert error_of(response)["message"].endswith("have not ended; the maximum is 1 (--max-tuning-jobs).")
        assert (await client.post(f"/v1/fine_tuning/jobs/{first}/cancel")).status_code == 200
        assert (await client.post("/v1/fine_tuning/jobs", json=body)).status_code == 200
        opened.set()


async def test_an_upload_over_the_limit_is_refused_while_it_streams(limited, store):
    """Long before its end, and nothing of it stays."""
    sent = 0

    async def endless():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while sent < 2**30:
            sent += 2**16
            yield b"a" * 2**16
            await asyncio.sleep(0)

    async with limited(max_file_bytes=2**20) as client:
        response = await client.post(
            "/v1/files", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")
        assert (await client.get("/v1/files")).json()["data"] == []
    assert maintenance.verify(store).num_files == 0


@pytest.fixture
def max_pages(store):
    """How far SQLite's file may grow, for a test to set; listeners must not be added while others are at work."""
    found = SimpleNamespace(number=1_000_000)
    listener = lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={found.number}")  # noqa: E731
    event.listen(store.database._backend.reader, "begin", listener)
    return found


@contextmanager
def full_database(max_pages):
    """Let SQLite take no page more than it has: it answers as on a full disk."""
    room, max_pages.number = max_pages.number, 1  # it takes what there is for the least
    yield
    max_pages.number = room


@contextmanager
def full_temporary_folder(_):
    """Let the kernel refuse every byte of a temporary file."""
    with patch("tempfile.TemporaryFile", lambda *_, **__: open("/dev/full", "w+b", buffering=0)):
        yield


@pytest.mark.parametrize("full", [full_database, full_temporary_folder])
async def test_an_upload_without_room_is_refused_and_leaves_nothing(max_pages, client, store, full):
    """507 in the one error body, in the middle of a file; reading goes on, and so does all once there is room."""
    big = {"file": ("big.jsonl", JSONL * 4000)}
    with full(max_pages):
        response = await client.post("/v1/files", files=big, data={"purpose": "fine-tune"})
        assert (response.status_code, error_of(response)["code"]) == (507, "storage_full")
        assert (await client.get("/v1/files")).json()["data"] == []
        assert (await client.get("/ready")).status_code == 200
    assert maintenance.verify(store).num_files == 0
    assert (await client.post("/v1/files", files=big, data={"purpose": "fine-tune"})).status_code == 200
    report = maintenance.verify(store)
    assert (report.problems, report.num_files) == ((), 1)


@pytest.mark.parametrize(
    ("files", "data", "status", "param"),
    [
        ({"file": ("a", JSONL)}, {"purpose": "assistants"}, 400, "purpose"),
        ({"file": ("a", JSONL)}, {}, 400, "purpose"),
        ({"file": ("a", b"")}, {"purpose": "fine-tune"}, 400, "file"),
        ({"other": ("a", JSONL)}, {"purpose": "fine-tune"}, 400, "other"),
        (
            {"file": ("a", JSONL)},
            {"purpose": "fine-tune", "expires_after[seconds]": "60"},
            400,
            "expires_after[seconds]",
        ),
        ({"file": ("a", JSONL)}, {"purpose": "fine-tune", "a b": "1"}, 400, None),
        ({"file": ("a", b"x" * 2**21)}, {"purpose": "fine-tune"}, 413, None),
    ],
)
async def test_a_file_that_is_none_is_refused(limited, files, data, status, param):
    """And nothing is kept."""
    async with limited(max_file_bytes=2**20) as client:
        response = await client.post("/v1/files", files=files, data=data)
        assert response.status_code == status
        assert error_of(response)["param"] in (param, "file")
        assert (await client.get("/v1/files")).json()["data"] == []


async def test_a_purpose_that_is_none_does_not_go_near_the_store(client):
    """PostgreSQL takes no NUL character, and would fail on it."""
    response = await client.get("/v1/files", params={"purpose": "\0"})
    assert (response.status_code, error_of(response)["param"]) == (400, "purpose")


async def test_a_file_in_use_stays(client, file_id, runs):
    """Until its job has ended."""
    opened = threading.Event()
    runs.on_step = lambda step: opened.wait(30)
    job = (await client.post("/v1/fine_tuning/jobs", json={**JOB, "training_file": file_id})).json()["id"]
    response = await client.delete(f"/v1/files/{file_id}")
    assert (response.status_code, error_of(response)["code"]) == (409, "file_in_use")
    await client.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    opened.set()
    assert (await client.delete(f"/v1/files/{file_id}")).json()["deleted"]


async def test_a_version_without_a_plot_has_none(client):
    """Also a task that is not there."""
    response = await client.get("/v1/tasks/mood/versions/1/plot.png")
    assert (response.status_code, error_of(response)["code"]) == (404, "task_not_found")


# --- a preview --------------------------------------------------------------------------------------------------------


async def test_a_preview_without_examples_has_defaults_and_limits(client):
    """Those that a job without settings has."""
    preview = (await client.post("/v1/fine_tuning/preview", json={})).json()
    assert (preview["object"], preview["model"], preview["examples"]) == ("fine_tuning.preview", "tiny-base", [])
    assert preview["template"] == "{input}\n"
    assert preview["max_file_bytes"] == 64 * 1024**2
    assert (preview["hyperparameters"]["num_virtual_tokens"], preview["hyperparameters"]["num_steps"]) == (16, None)


async def test_a_preview_shows_the_tokens_that_the_job_logs(client, file_id):
    """Token by token, the learnt ones marked."""
    body = {"examples": [ROWS[0]], "template": "{input} ->"}
    response = await client.post("/v1/fine_tuning/preview", json=body)
    assert response.status_code == 200, response.text
    shown = response.json()["examples"]
    assert [example["line"] for example in shown] == [1]
    tokens = shown[0]["tokens"]
    assert "".join(token["text"] for token in tokens if not token["learnt"]).startswith(ROWS[0]["text"][:3])
    assert [token["learnt"] for token in tokens] == sorted(token["learnt"] for token in tokens)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"examples": [ROWS[0], {"text": "a"}]}, "examples", "line 2: has a text but no label"),
        ({"examples": [{"text": "a " * 5000, "label": "b"}]}, "examples", "line 1: has "),
        ({"hyperparameters": {"num_steps": 0}}, "hyperparameters.num_steps", "num_steps is from 1"),
        ({"template": "x"}, "manifest.template", "exactly once"),
        ({"hyperparameters": {"initialisation": "TEXT"}}, "hyperparameters.init_text", "is needed"),
    ],
)
async def test_a_preview_refuses_what_a_job_would(client, body, param, words):
    """With the same words, and before a file is sent."""
    response = await client.post("/v1/fine_tuning/preview", json=body)
    error = error_of(response)
    assert (response.status_code, error["param"]) == (400, param)
    assert words in error["message"]


async def test_a_preview_is_of_the_base_model_only(client):
    """As a job."""
    response = await client.post("/v1/fine_tuning/preview", json={"model": "mood"})
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")


# --- distillation -----------------------------------------------------------------------------------------------------

INSTRUCTION = "Answer yes where the number is odd, and no where it is even. "


def distilled(**changes):
    """The body of a job of distillation, with other values in `method.distillation`."""
    return {**JOB, "method": {"type": "distillation", "distillation": {"instruction": INSTRUCTION, **changes}}}


def test_a_distillation_is_a_job_of_its_own_method(openai_client):
    """Its settings come back under its name; by default it is a prefix from the instruction's tokens."""
    file = openai_client.files.create(file=("inputs.txt", b"a\n" * 20), purpose="fine-tune")
    body = {name: value for name, value in distilled(max_answer_tokens=8).items() if name != "hyperparameters"}
    job = openai_client.fine_tuning.jobs.create(**body, training_file=file.id)
    method = job.method.to_dict()
    assert method.keys() == {"type", "supervised", "distillation"}
    told = method["distillation"]
    assert (method["type"], told["instruction"], told["max_answer_tokens"]) == ("distillation", INSTRUCTION, 8)
    hyperparameters = told["hyperparameters"]
    assert (hyperparameters["method"], hyperparameters["initialisation"]) == ("PREFIX_TUNING", "INSTRUCTION")
    assert (hyperparameters["num_steps"], hyperparameters["batch_size"], hyperparameters["max_extensions"]) == (
        100,
        8,
        2,
    )
    assert "num_inputs" not in told
    failed = wait(openai_client, job.id, "succeeded", "failed")
    assert failed.error.message == "the file has 1 different inputs, and a distillation needs 10"


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"method": {"type": "distillation"}}, "method.distillation", "send its instruction"),
        (distilled(instruction=" "), "method.distillation.instruction", "nothing to distil"),
        (distilled(instruction="word " * 400), "method.distillation.instruction", "there is room for"),
        (distilled(num_inputs=9), "method.distillation.num_inputs", "is from 10 to"),
        (
            {"hyperparameters": {"initialisation": "INSTRUCTION"}},
            "hyperparameters.initialisation",
            "a distillation alone",
        ),
        (distilled(max_answer_tokens=0), "method.distillation.max_answer_tokens", "is from 1 to"),
        (
            {**distilled(hyperparameters={"num_virtual_tokens": 300}), "hyperparameters": None},
            "method.distillation.hyperparameters.num_virtual_tokens",
            "none would be saved",
        ),
        ({**distilled(), "labels": ["yes", "no"]}, "labels", "a distillation has inputs alone"),
        (
            {"method": {**distilled()["method"], "supervised": {}}},
            "method.supervised",
            "method.type is distillation: leave out supervised",
        ),
        ({"gate": {"metric": "agreement"}}, "gate.metric", "agreement is of a distillation"),
        (
            {**distilled(), "gate": {"metric": "agreement", "not_worse_than_production": True}},
            "gate.not_worse_than_production",
            "take exact_match",
        ),
    ],
)
async def test_a_distillation_that_cannot_be_is_refused_at_once(services, changes, param, words):
    """By name, and no job is made."""
    async with client_of(services) as client:
        file = await client.post("/v1/files", files={"file": ("inputs.txt", b"a\nb\n")}, data={"purpose": "fine-tune"})
        body = {"model": "tiny-base", "suffix": "mood", "training_file": file.json()["id"], **changes}
        refused = await client.post("/v1/fine_tuning/jobs", json=body)
        assert refused.status_code == 400, refused.text
        error = error_of(refused)
        assert error["param"] == param
        assert words in error["message"]
        assert (await client.get("/v1/fine_tuning/jobs")).json()["data"] == []


DOCUMENT = "\n".join(f"The tower of town {number} is {number} metres high." for number in range(4)).encode()


def of_document(**changes):
    """The body of a job whose training file is a document, with other values in `method.distillation`."""
    return {"method": {"type": "distillation", "distillation": {"document": True, "num_inputs": 12, **changes}}}


def test_a_document_is_the_training_file_of_its_job(openai_client):
    """Its text and its number of questions come back; by default it becomes a cartridge."""
    file = openai_client.files.create(file=("report.txt", DOCUMENT), purpose="fine-tune")
    job = openai_client.fine_tuning.jobs.create(
        model="tiny-base", suffix="town", training_file=file.id, **of_document(max_answer_tokens=8)
    )
    told = job.method.to_dict()["distillation"]
    assert (told["instruction"], told["num_inputs"], told["document"]) == (DOCUMENT.decode(), 12, True)
    assert told["hyperparameters"]["method"] == "CARTRIDGE"


@pytest.mark.parametrize(
    ("document", "changes", "param", "words"),
    [
        (b"  ", {}, "training_file", "is empty: there is nothing to distil"),
        (b"One line.", {}, "training_file", "and a cartridge is for 64 or more"),
        (DOCUMENT * 3, {}, "training_file", "tokens with a question of usual length"),
        (b"\xff" * 99, {}, "training_file", "is not UTF-8"),
        (DOCUMENT, {"num_inputs": 2}, "method.distillation.num_inputs", "is from 10 to"),
        (DOCUMENT, {"instruction": "a text"}, "method.distillation", "send one of them"),
        (
            DOCUMENT,
            {"hyperparameters": {"num_virtual_tokens": 300}},
            "method.distillation.hyperparameters.num_virtual_tokens",
            "none would be saved",
        ),
    ],
)
async def test_what_is_no_document_is_refused_at_once(services, document, changes, param, words):
    """By name, and no job is made."""
    async with client_of(services) as client:
        file = await client.post("/v1/files", files={"file": ("r.txt", document)}, data={"purpose": "fine-tune"})
        body = {"model": "tiny-base", "suffix": "town", "training_file": file.json()["id"], **of_document(**changes)}
        refused = await client.post("/v1/fine_tuning/jobs", json=body)
        assert refused.status_code == 400, refused.text
        assert error_of(refused)["param"] == param
        assert words in error_of(refused)["message"]
        missing = await client.post("/v1/fine_tuning/jobs", json=body | {"training_file": "file-99"})
        assert missing.status_code in (400, 404)
        assert (await client.get("/v1/fine_tuning/jobs")).json()["data"] == []


# --- where nothing tunes now ------------------------------------------------------------------------------------------


async def test_a_tuner_with_a_problem_says_it_and_keeps_the_jobs(services, store):
    """Neither jobs nor previews are accepted; what is in the store can be read and cancelled."""
    problem, nudged = "the tuning process is away", []
    away = SimpleNamespace(
        problem=problem, nudge=lambda: nudged.append(1), stats=TuningStats(), running=contextlib.nullcontext
    )
    async with client_of(with_parts(services, jobs=away)) as client:
        files = {"file": ("train.jsonl", JSONL), "purpose": (None, "fine-tune")}
        file_id = (await client.post("/v1/files", files=files)).json()["id"]
        for path, body in (("jobs", JOB | {"training_file": file_id}), ("preview", {"examples": ROWS[:1]})):
            refused = await client.post(f"/v1/fine_tuning/{path}", json=body)
            assert (refused.status_code, error_of(refused)["code"]) == (503, "not_ready")
            assert error_of(refused)["message"] == problem
        assert (await client.get("/v1/engine")).json()["no_tuning"] == problem
        number = int(file_id.removeprefix("file-"))
        request = request_to_json(JobRequest(TuningPlan(), Manifest(template="{input}")))
        new = NewJob(services.store_access.fingerprint, "old", number, None, 0, request)
        job = TuningStore(store).create_job(new, max_unfinished=9, actor="ann")
        cancelled = await client.post(f"/v1/fine_tuning/jobs/ftjob-{job.id}/cancel")
        assert (cancelled.json()["status"], nudged) == ("cancelled", [1])
