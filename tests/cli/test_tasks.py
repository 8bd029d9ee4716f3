"""`softprompt task …` on a database: what each command does, prints and refuses."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from prompts_store.errors import InvalidFolder
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.cli.tasks.checkpoint_folder import read_publication
from server.cli.tasks.import_folder import import_folder
from server.cli.tasks.publication import Publication
from server.demo import BASE_DIR, TASKS_DIR


@pytest.fixture
def publish(backend, write_checkpoint):
    """Publish a checkpoint, past the command line (which would read a real base model)."""

    def run(task, seed, *, promote=False, manifest=None):
        files = read_publication(write_checkpoint(task, seed), max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES).files
        return backend.publish(Publication(task, "", files, manifest or {}, False, promote))

    return run


def test_publish_into_a_database_checks_against_the_base_model(softprompt, write_checkpoint, data_dir):
    """The demo's checkpoint fits the demo's base model, without a server; another one does not."""
    demo = TASKS_DIR / "sentiment"
    assert softprompt("task", "publish", demo, "--data-dir", data_dir) == (0, "sentiment@1\n", "")
    description = json.loads((demo / "manifest.json").read_text())["description"]
    assert softprompt("task", "show", "sentiment", "--data-dir", data_dir)[1].startswith(description)
    code, _, err = softprompt("task", "publish", write_checkpoint("tiny"), "--data-dir", data_dir)
    assert code == 1
    assert err.startswith("softprompt: adapter_config: ")


def test_a_checkpoint_may_name_the_base_models_folder(softprompt, data_dir, tmp_path):
    """By a link too: the database and the folder are on this machine."""
    (tmp_path / "base").symlink_to(BASE_DIR)
    folder = shutil.copytree(TASKS_DIR / "sentiment", tmp_path / "mood")
    config = folder / "adapter_config.json"
    fields = json.loads(config.read_text())
    for name in (f"{BASE_DIR}/", f"{tmp_path}/base"):
        config.write_text(json.dumps(fields | {"base_model_name_or_path": name}))
        code, out, err = softprompt("task", "publish", folder, "--data-dir", data_dir)
        assert (code, out[:6]) == (0, "mood@1"), err
    config.write_text(json.dumps(fields | {"base_model_name_or_path": "/content/model"}))
    code, _, err = softprompt("task", "publish", folder, "--data-dir", data_dir)
    assert code == 1
    assert all(part in err for part in ("/content/model", "softprompt-demo", "--allow-base-mismatch", "--base-name"))


def test_a_database_of_another_base_model_takes_no_demo(softprompt, publish, data_dir):
    """Whose tasks these are must be said, rather than mixed up."""
    publish("sentiment", 1)
    code, _, err = softprompt("task", "publish", TASKS_DIR / "sentiment", "--data-dir", data_dir)
    assert code == 2
    assert "--base-model" in err


def test_list_shows_each_task_with_its_versions(softprompt, publish, data_dir):
    """A person sees columns, a script reads JSON, both in the order of names."""
    publish("sentiment", 1)
    publish("sentiment", 2)
    publish("dates", 3)
    code, out, err = softprompt("task", "list", "--data-dir", data_dir)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["TASK", "PRODUCTION", "LATEST", "DESCRIPTION"],
        ["dates", "1", "1"],
        ["sentiment", "1", "2"],
    ]
    code, out, _ = softprompt("task", "list", "--data-dir", data_dir, "--json")
    assert json.loads(out)[1] == {
        "name": "sentiment",
        "description": "",
        "latest_version": 2,
        "production_version": 1,
    }


def test_list_goes_on_past_one_page(softprompt, backend, data_dir):
    """More tasks than the store gives at once are all listed."""
    for number in range(203):
        backend.store.create_task(backend.fingerprint, f"task-{number:03}")
    _, out, _ = softprompt("task", "list", "--data-dir", data_dir, "--fingerprint", backend.fingerprint, "--json")
    assert [task["name"] for task in json.loads(out)] == [f"task-{number:03}" for number in range(203)]


def test_show_lists_versions_newest_first_with_their_aliases(softprompt, publish, data_dir):
    """What is `production` shows at a glance."""
    publish("sentiment", 1, manifest={"note": "first"})
    publish("sentiment", 2, manifest={"note": "second"})
    code, out, _ = softprompt("task", "show", "sentiment", "--data-dir", data_dir)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [("2", "-", "second"), ("1", "production", "first")]
    _, out, _ = softprompt("task", "show", "sentiment", "--data-dir", data_dir, "--json")
    assert [version["num_virtual_tokens"] for version in json.loads(out)["versions"]] == [4, 4]


def test_promote_and_rollback_move_production(softprompt, publish, data_dir):
    """Back and forth between two versions."""
    publish("sentiment", 1)
    publish("sentiment", 2)
    assert softprompt("task", "promote", "sentiment", 2, "--data-dir", data_dir)[1] == "sentiment@production -> 2\n"
    assert softprompt("task", "rollback", "sentiment", "--data-dir", data_dir)[1] == "sentiment@production -> 1\n"
    code, _, err = softprompt("task", "promote", "sentiment", 9, "--data-dir", data_dir)
    assert code == 1
    assert err.startswith("softprompt: ")


def test_a_version_that_production_names_is_not_retired(softprompt, publish, data_dir):
    """One line says why, and the version stays."""
    publish("sentiment", 1)
    publish("sentiment", 2)
    code, out, err = softprompt("task", "retire", "sentiment", 1, "--data-dir", data_dir)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert softprompt("task", "retire", "sentiment", 2, "--data-dir", data_dir)[0] == 0


def test_delete_asks_first(softprompt, publish, data_dir):
    """Where nobody can be asked, only --yes deletes."""
    publish("sentiment", 1)
    code, _, err = softprompt("task", "delete", "sentiment", "--data-dir", data_dir)
    assert code == 2
    assert "--yes" in err
    fingerprint = ("--fingerprint", "f" * 64)
    assert softprompt("task", "delete", "sentiment", "--data-dir", data_dir, "--yes")[0] == 0
    assert json.loads(softprompt("task", "list", "--data-dir", data_dir, *fingerprint, "--json")[1]) == []


def test_export_gives_back_what_was_published(softprompt, publish, data_dir, write_checkpoint, tmp_path):
    """The same tensors, and a manifest that publishes to the same version."""
    publish("sentiment", 1, manifest={"template": "Review: {input}", "labels": ["good", "bad"]})
    original = write_checkpoint("sentiment", 1)
    code, _, _ = softprompt("task", "export", "sentiment@1", tmp_path / "out", "--data-dir", data_dir)
    assert code == 0
    exported, published = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "out", original))
    assert np.array_equal(exported["prompt_embeddings"], published["prompt_embeddings"])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert publish("sentiment", 1, manifest=manifest).created is False


def test_export_overwrites_only_when_told(softprompt, publish, data_dir, tmp_path):
    """A folder with something in it is not lost to a slip."""
    publish("sentiment", 1)
    arguments = ("task", "export", "sentiment", tmp_path, "--data-dir", data_dir)
    assert softprompt(*arguments)[0] == 0
    code, _, err = softprompt(*arguments)
    assert code == 1
    assert "--force" in err
    assert softprompt(*arguments, "--force")[0] == 0


def test_a_database_of_several_base_models_wants_one_named(softprompt, backend, data_dir):
    """Tasks of different base models never mix in one answer."""
    for fingerprint in ("a" * 64, "b" * 64):
        backend.store.create_task(fingerprint, "sentiment")
    code, _, err = softprompt("task", "list", "--data-dir", data_dir)
    assert code == 2
    assert "a" * 64 in err
    assert softprompt("task", "list", "--data-dir", data_dir, "--fingerprint", "a" * 64)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["task", "lst"], 2),
        (["task", "promote", "sentiment", "zero"], 2),
        (["task", "show"], 2),
        (["task", "list", "--url", "ftp://example.org"], 2),
        (["task", "alias", "set", "sentiment", "canary", "3:0"], 2),
        (["task", "import", "/no/such/folder"], 1),
        (["db", "verify", "--data-dir", "/no/such/folder"], 1),
        (["db", "check", "--database-url", "postgresql://nobody@127.0.0.1:1/none"], 1),
        (["task", "list", "--data-dir", "/no/such/folder"], 1),
        (["task", "publish", "/no/such/folder"], 1),
        (["serve", "--port", "http"], 2),
        (["serve", "--admin-key", "two words"], 2),
    ],
    ids=str,
)
def test_what_goes_wrong_is_one_line_on_standard_error(softprompt, arguments, code):
    """Exit code 2 for wrong usage, 1 for a failure, never a traceback."""
    found, out, err = softprompt(*arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert err.startswith("softprompt: ")
    assert "two words" not in err


def test_a_folder_with_a_pickle_is_refused_with_the_remedy(softprompt, tmp_path):
    """The old PEFT format is named, not guessed at."""
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    _, _, err = softprompt("task", "publish", tmp_path)
    assert f"run `softprompt task convert {tmp_path}` first" in err


@pytest.mark.parametrize("text", ["{", "[]", '{"description": 3}', '{"allow_base_mismatch": "yes"}'])
def test_a_manifest_that_is_none_is_refused_with_its_path(softprompt, write_checkpoint, text):
    """Before anything is sent."""
    folder = write_checkpoint("sentiment")
    (folder / "manifest.json").write_text(text)
    code, _, err = softprompt("task", "publish", folder)
    assert code == 1
    assert str(folder / "manifest.json") in err


def test_import_goes_on_past_every_folder_that_is_refused(softprompt, backend, write_checkpoint, tmp_path):
    """Each is named with its reason; what holds nothing of a version is no version."""
    folder = write_checkpoint("good").parent
    write_checkpoint("deep")
    (folder / "deep" / "manifest.json").write_bytes(b"[" * 5_000)
    write_checkpoint("pipe")
    (folder / "pipe" / "adapter_config.json").unlink()
    os.mkfifo(folder / "pipe" / "adapter_config.json")
    write_checkpoint("half")
    (folder / "half" / "adapter_config.json").unlink()
    (folder / "members").mkdir()
    (folder / "members" / "manifest.json").write_text(json.dumps({"members": ["1"] * 9}))
    (folder / "missing").mkdir()
    (folder / "missing" / "manifest.json").write_text(json.dumps({"members": ["1", "2"]}))
    (folder / "Not A Name").mkdir()
    shutil.copytree(folder / "good", folder / "Not A Name", dirs_exist_ok=True)
    (folder / "notes").mkdir()
    published, refused = import_folder(backend, folder, promote=False)
    assert [one.task for one in published] == ["good"]
    assert set(refused) == {"deep", "pipe", "half", "members", "missing", "Not A Name"}
    assert "not valid JSON" in refused["deep"]
    assert "2 to 8" in refused["members"]
    assert str(folder / "missing" / "1") in refused["missing"]


def test_a_manifest_may_come_through_a_pipe(write_checkpoint, tmp_path):
    """As `--manifest <(jq …)` gives it; without a bound it is not read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    folder = write_checkpoint("good")
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(pipe.write_text, '{"note": "piped"}')
        assert read_publication(folder, pipe, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES).manifest == {"note": "piped"}
        written.result()
    with pytest.raises(InvalidFolder, match="more than"):
        read_publication(folder, Path("/dev/zero"), max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)


def test_the_limit_of_the_tensors_is_an_option_of_the_database(softprompt, data_dir, monkeypatch):
    """As for `serve`, it may stand in the environment; a refused version leaves no task."""
    publish = ("task", "publish", TASKS_DIR / "sentiment", "--data-dir", data_dir)
    code, _, err = softprompt(*publish, "--max-tensor-bytes", 1024)
    assert (code, "more than 1024 bytes as float32" in err) == (1, True)
    monkeypatch.setenv("SOFTPROMPT_MAX_TENSOR_BYTES", "1024")
    assert softprompt(*publish)[0] == 1
    assert softprompt("task", "list", "--data-dir", data_dir, "--json")[1] == "[]\n"
    assert softprompt(*publish, "--max-tensor-bytes", 1 << 20)[0] == 0
