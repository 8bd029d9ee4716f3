"""A whole store as release 4b55c5e left it, written by its own servers, with tuning jobs that had not ended.

`HF_HUB_OFFLINE=1 python -m tests.system.golden_jobs` wrote it, in that release's checkout: in another one it would make
another release's store. `load` unpacks it; `EXPECTED` says what is in it, and what each job came to where nobody
interrupted it. `CONTINUED` says what the arithmetic of now makes of the jobs: `python -m tests.system.golden_jobs
--continue` writes it, and it changes only with that arithmetic.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from transformers import AutoModelForCausalLM

from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.demo import BASE_DIR, BASE_NAME, TASKS_DIR
from server.settings import sqlite_url
from server.tuning.examples import read_examples
from server.tuning.split import tuning_data
from tests.parity.oracle import save_checkpoint
from tests.system.server_process import ROOT, ServerProcess
from tests.system.tuning_demo import examples, jsonl

FOLDER = Path(__file__).parent / "golden"
DUMP, EXPECTED = FOLDER / "store_4b55c5e.sql.xz", FOLDER / "expected_4b55c5e.json"
CONTINUED = FOLDER / "continued_4b55c5e.json"
ADMIN_KEY = "golden-admin-key"
TEMPLATE = " {input} ->\n"
KINDS = ("prompt", "p", "multitask", "cpt", "prefix", "cartridge")
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
_JOBS = "/v1/fine_tuning/jobs"
_PAUSED = {"p-tuned": 6, "chatty": 6, "prefixed": 6}
"""Jobs that are paused, and the steps that they have done at least by then."""


def load(data_dir: Path) -> None:
    """Put the store into a data folder."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(_database(data_dir))) as connection:
        connection.executescript(lzma.decompress(DUMP.read_bytes()).decode())


def make_base(folder: Path) -> Path:
    """The demo's base model with a chat template: the fingerprint is the demo's own."""
    shutil.copytree(BASE_DIR, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": _CHAT_TEMPLATE}))
    return folder


@contextmanager
def serving(data_dir: Path, base: Path, log: Path) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """A server of the store, and a client that may do all."""
    options = {"tuning_checkpoint_s": 0.2, "tuning_takeover_s": 1.5, "threads": 1, "admin_key": ADMIN_KEY}
    with ServerProcess(log, data_dir=data_dir, base_model=base, base_name=BASE_NAME, **options) as server:
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            yield server, client


def asked(response: httpx.Response) -> Any:
    """The body of an answer that must be good."""
    assert response.is_success, response.text
    return response.json() if response.content else None


def wait(client: httpx.Client, job_id: str, until: Callable[[Any], bool], timeout_s: float = 500) -> Any:
    """Poll a job until something is so."""
    deadline = time.monotonic() + timeout_s
    while not until(job := asked(client.get(f"{_JOBS}/{job_id}"))):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def has_ended(job: Any) -> bool:
    """Whether nothing comes after a job's status."""
    return job["status"] in ("succeeded", "failed", "cancelled")


def continued(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """What every job of the store comes to, once the paused ones are resumed and all have ended."""
    left = json.loads(EXPECTED.read_text())["jobs"]
    for job in left.values():
        if job["status"] == "paused":
            asked(client.post(f"{_JOBS}/{job['id']}/resume"))
    return {task: outcome(client, wait(client, job["id"], has_ended)) for task, job in left.items()}


def outcome(client: httpx.Client, job: Any) -> dict[str, Any]:
    """What a job came to, as far as that can be held against another run of it."""
    assert job["status"] == "succeeded", job["error"]
    version = asked(client.get(f"/v1/tasks/{job['task']}/versions/{job['version']}"))
    names = ("num_steps", "num_training_examples", "num_validation_examples", "num_examples", "exact_match")
    metrics = {name: version["manifest"]["metrics"][name] for name in names}
    return {"digest": version["digest"], "trained_tokens": job["trained_tokens"], **metrics}


def _database(data_dir: Path) -> str:
    return sqlite_url(data_dir).removeprefix("sqlite:///")


# --- what the jobs learn ----------------------------------------------------------------------------------------------


def _labelled(seed: int, num_examples: int) -> list[dict[str, Any]]:
    """Texts and labels, with a third label of two inputs."""
    rows = [{"text": row["prompt"], "label": row["completion"]} for row in examples(seed, num_examples)]
    return [*rows, *({"text": f"it is {word} o'clock", "label": "tell"} for word in ("four", "nine"))]


def _conversations(num_examples: int) -> list[dict[str, Any]]:
    """Two answers each; this release learns the last one."""
    return [
        {
            "messages": [
                {"role": "system", "content": "You say how it is said."},
                {"role": "user", "content": first["prompt"]},
                {"role": "assistant", "content": first["completion"]},
                {"role": "user", "content": then["prompt"]},
                {"role": "assistant", "content": then["completion"]},
            ]
        }
        for first, then in zip(examples(5, num_examples), examples(6, num_examples), strict=True)
    ]


def _seed_that_holds_out_the_rare(rows: list[dict[str, Any]]) -> int:
    """A seed by which this release keeps no example of the rare label for training."""
    known = read_examples(jsonl(rows))
    for seed in range(100_000):
        if all(example.completion != "tell" for example in tuning_data(known, seed=seed).training):
            return seed
    raise AssertionError("there is none")


def _requests() -> dict[str, tuple[list[bytes], dict[str, Any]]]:
    """Each job by its task: its files, and its fields."""
    few = {"batch_size": 4, "num_virtual_tokens": 4, "validate_every": 6}
    rare = _labelled(7, 30)
    with_rare = {"seed": _seed_that_holds_out_the_rare(rare), "template": TEMPLATE}
    completions = {"seed": 1, "template": TEMPLATE, "labels": ["whisper", "shout"]}
    p_tuning = {**few, "method": "P_TUNING", "encoder_hidden_size": 8, "num_steps": 16}
    prefix_tuning = {**few, "method": "PREFIX_TUNING", "num_virtual_tokens": 2, "num_steps": 16}
    judged = {"promote": True, "gate": {"metric": "exact_match", "not_worse_than_production": True}}
    return {
        "done": ([jsonl(_labelled(2, 30))], {"seed": 2, "hyperparameters": {**few, "num_steps": 10}}),
        "p-tuned": ([jsonl(examples(3, 40))], {**completions, "hyperparameters": p_tuning}),
        "chatty": ([jsonl(_conversations(30))], {"seed": 3, "hyperparameters": {**few, "num_steps": 16}}),
        "prefixed": ([jsonl(rare)], {**with_rare, "hyperparameters": prefix_tuning}),
        "killed": ([jsonl(examples(4, 60))], {**completions, "hyperparameters": {**few, "num_steps": 50}}),
        "waiting": ([jsonl(rare)], {**with_rare, **judged, "hyperparameters": {**few, "num_steps": 12}}),
        "unread": (
            [jsonl(examples(8, 40)), jsonl(examples(9, 10))],
            {**completions, **judged, "hyperparameters": {**few, "num_steps": 12}},
        ),
    }


def _create(client: httpx.Client, task: str) -> str:
    files, fields = _requests()[task]
    return _create_of(client, task, files, fields)


def _create_of(client: httpx.Client, task: str, files: list[bytes], fields: dict[str, Any]) -> str:
    names = ("training_file", "validation_file")
    uploaded = {name: _upload(client, f"{task}-{name}.jsonl", data) for name, data in zip(names, files, strict=False)}
    job = asked(client.post(_JOBS, json={"model": BASE_NAME, "suffix": task, **uploaded, **fields}))
    return str(job["id"])


def _upload(client: httpx.Client, name: str, data: bytes) -> str:
    return str(asked(client.post("/v1/files", files={"file": (name, data)}, data={"purpose": "fine-tune"}))["id"])


# --- writing it -------------------------------------------------------------------------------------------------------


def write_continued() -> None:
    """Write what the jobs come to on this machine, and print it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load(folder / "data")
        with serving(folder / "data", make_base(folder / "base"), folder / "server.log") as (_, client):
            CONTINUED.write_text(json.dumps(continued(client), indent=1) + "\n")
    print(CONTINUED.read_text())


def main() -> None:
    """Write the store and what is expected of it, and print how large it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = make_base(folder / "base")
        expected: dict[str, Any] = {"outcomes": _uninterrupted(folder, base)}
        data_dir = folder / "data"
        with serving(data_dir, base, folder / "server.log") as (server, client):
            _publish_all(client, folder)
            jobs = _leave_jobs(server, client)
            big_file = jobs.pop("")
        with Store.open(sqlite_url(data_dir)) as store:  # what was killed, opened once more
            TuningStore(store).delete_file(int(big_file.removeprefix("file-")))
            expected["versions"] = _versions(store)
            expected["jobs"] = _left(store, jobs)
        _make_keys(data_dir)
        with closing(sqlite3.connect(_database(data_dir))) as connection:
            dump = "\n".join(connection.iterdump()) + "\n"
        FOLDER.mkdir(exist_ok=True)
        DUMP.write_bytes(lzma.compress(dump.encode(), preset=9 | lzma.PRESET_EXTREME))
        EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")
        print(f"{DUMP}: {DUMP.stat().st_size} bytes", json.dumps(expected, indent=1))


def _uninterrupted(folder: Path, base: Path) -> dict[str, Any]:
    """Every job from its beginning to its end."""
    with serving(folder / "undisturbed", base, folder / "undisturbed.log") as (_, client):
        jobs = {task: _create(client, task) for task in _requests()}
        return {task: outcome(client, wait(client, job_id, has_ended)) for task, job_id in jobs.items()}


def _publish_all(client: httpx.Client, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE_DIR)
    model.name_or_path = model.config._name_or_path = BASE_NAME  # not the folder that it lies in
    for kind in KINDS:
        for seed in (1, 2):
            save_checkpoint(folder / f"{kind}-{seed}", model, kind, seed)
            manifest: dict[str, Any] = {
                "template": TEMPLATE,
                "labels": ["positive", "negative"],
                "note": f"seed {seed}",
            }
            if kind == "multitask":
                manifest["task_index"] = seed - 1
            _publish(client, kind, folder / f"{kind}-{seed}", manifest, promote=seed == 2)
    sentiment = TASKS_DIR / "sentiment"
    fields = json.loads((sentiment / "manifest.json").read_text())
    description = fields.pop("description")
    _publish(client, "sentiment", sentiment, fields, description=description)
    _publish(client, "sentiment", sentiment, {**fields, "stop": ["\n"]})
    _publish(client, "sentiment", sentiment, {**fields, "note": "to be retired", "stop": ["!"]})
    asked(client.delete("/v1/tasks/sentiment/versions/3"))
    canary = {"targets": [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}], "reason": "try it"}
    asked(client.put("/v1/tasks/sentiment/aliases/canary", json=canary, headers={"if-none-match": "*"}))
    shadow = {"version": 2, "shadow_of": "production"}
    asked(client.put("/v1/tasks/sentiment/aliases/next", json=shadow, headers={"if-none-match": "*"}))
    etag = client.get("/v1/tasks/prompt/aliases/production").headers["etag"]
    asked(client.put("/v1/tasks/prompt/aliases/production", json={"version": 1}, headers={"if-match": etag}))
    asked(client.post("/v1/tasks/prompt/aliases/production/rollback", json={"reason": "worse"}))
    ensemble = {"members": "[2, 1]", "manifest": '{"note": "both"}'}
    asked(client.post("/v1/tasks/prompt/versions", files={name: (None, value) for name, value in ensemble.items()}))
    _publish(client, "deleted", sentiment, {"note": "deleted"})
    asked(client.delete("/v1/tasks/deleted"))


def _publish(
    client: httpx.Client, task: str, folder: Path, manifest: Any, *, promote: bool = False, **more: Any
) -> None:
    files = {
        "adapter_config": ("adapter_config.json", (folder / "adapter_config.json").read_bytes()),
        "adapter_model": ("adapter_model.safetensors", (folder / "adapter_model.safetensors").read_bytes()),
    }
    data = {"manifest": json.dumps(manifest), "promote": json.dumps(promote), **more}
    asked(client.post(f"/v1/tasks/{task}/versions", files=files, data=data))


def _leave_jobs(server: ServerProcess, client: httpx.Client) -> dict[str, str]:
    """A job in every state that is no end, when the server is killed. Under "" the file that only kept it busy."""
    jobs = {"done": _create(client, "done")}
    wait(client, jobs["done"], has_ended)
    for task, num_steps in _PAUSED.items():
        jobs[task] = _create(client, task)
        _wait_for_step(client, jobs[task], num_steps)
        asked(client.post(f"{_JOBS}/{jobs[task]}/pause"))
        time.sleep(1.5)  # until it has been saved
    big = _upload(client, "big.jsonl", jsonl([{"prompt": f"in {n}", "completion": f"{n}"} for n in range(200_000)]))
    jobs["killed"] = _create(client, "killed")
    jobs["waiting"] = _create(client, "waiting")
    wait(client, jobs["waiting"], lambda job: job["status"] == "queued")
    busy = asked(client.post(_JOBS, json={"model": BASE_NAME, "suffix": "busy", "training_file": big}))["id"]
    time.sleep(0.3)  # until it is being validated
    jobs["unread"] = _create(client, "unread")
    asked(client.post(f"{_JOBS}/{busy}/cancel"))
    _wait_for_step(client, jobs["killed"], 8)
    server.kill()
    return {**jobs, "": big}


def _wait_for_step(client: httpx.Client, job_id: str, step: int) -> None:
    deadline = time.monotonic() + 300
    while not any(one["step_number"] >= step for one in asked(client.get(f"{_JOBS}/{job_id}/checkpoints"))["data"]):
        assert time.monotonic() < deadline, client.get(f"{_JOBS}/{job_id}").text
        time.sleep(0.02)


def _versions(store: Store) -> dict[str, dict[int, str]]:
    (fingerprint,) = store.bases()
    return {
        task.name: {
            version.version: version.digest
            for version in store.list_versions(fingerprint, task.name, include_retired=True)
        }
        for task in store.list_tasks(fingerprint)
    }


def _left(store: Store, jobs: dict[str, str]) -> dict[str, Any]:
    (fingerprint,) = store.bases()
    tuning = TuningStore(store)
    found = {}
    for task, job_id in jobs.items():
        number = int(job_id.removeprefix("ftjob-"))
        checkpoints = tuning.list_checkpoints(fingerprint, number, limit=1)
        step = checkpoints[0].step if checkpoints else 0
        found[task] = {"id": job_id, "status": str(tuning.get_job(fingerprint, number).status), "step": step}
    return found


def _make_keys(data_dir: Path) -> None:
    run = [sys.executable, "-c", "import sys; from server.cli import main; sys.exit(main())", "key"]
    for arguments in (
        ("create", "shop", "--scope", "infer", "--task", "sentiment", "--max-requests-per-minute", "600"),
        ("create", "old", "--scope", "admin"),
        ("revoke", "old"),
    ):
        subprocess.run([*run, *arguments, "--data-dir", str(data_dir)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    write_continued() if sys.argv[1:] == ["--continue"] else main()
