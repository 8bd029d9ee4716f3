"""Ensembles on the command line, on a database and over HTTP: published, shown, exported and read again."""

import json

import pytest

from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.cli.tasks.checkpoint_folder import read_publication
from server.cli.tasks.publication import Publication
from tests.cli.test_against_server import url

__all__ = ["url"]


@pytest.fixture(params=["database", "server"])
def task(request, softprompt, data_dir):
    """Run a task command on a database, or on a server over it; its output."""
    place = ("--data-dir", data_dir) if request.param == "database" else ("--url", request.getfixturevalue("url"))

    def run(*arguments, code=0):
        ended, out, err = softprompt("task", *arguments, *place)
        assert ended == code, err
        return err if code else out

    return run


@pytest.fixture
def publish(backend, write_checkpoint):
    """Publish a checkpoint past the command line."""

    def run(task, seed):
        files = read_publication(
            write_checkpoint(f"{task}-{seed}", seed), max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES
        ).files
        return backend.publish(Publication(task, "", files, {"labels": ["good", "bad"]}, False, False))

    return run


def test_an_ensemble_is_published_and_shown(task, publish):
    for seed in (1, 2, 3):
        publish("mood", seed)
    assert task("publish-ensemble", "mood", "3", "1", "--promote", "--note", "seeds") == "mood@4\n"
    assert "nothing new" in task("publish-ensemble", "mood", "3", "1")
    shown = task("show", "mood")
    assert "of 3 1" in shown
    (ensemble, *_) = json.loads(task("show", "mood", "--json"))["versions"]
    assert (ensemble["members"], ensemble["peft_type"], ensemble["manifest"]["note"]) == ([3, 1], None, "seeds")
    assert "member of ensemble version 4" in task("retire", "mood", "1", code=1)


def test_a_list_that_cannot_be_one_is_an_error_and_nothing_else(task, publish):
    publish("mood", 1)
    assert "list each version once" in task("publish-ensemble", "mood", "1", "1", code=1)
    assert "2 to 8" in task("publish-ensemble", "mood", "1", code=1)
    assert "no live version 7" in task("publish-ensemble", "mood", "1", "7", code=1)
    assert json.loads(task("show", "mood", "--json"))["task"]["latest_version"] == 1


def test_an_exported_ensemble_is_published_again_as_it_was(softprompt, backend, data_dir, publish, tmp_path):
    """Its folder holds its members; in a task of its own it gets other numbers and the same digest."""
    for seed in (1, 2, 3):
        publish("mood", seed)
    assert softprompt("task", "publish-ensemble", "mood", "3", "1", "--data-dir", data_dir)[0] == 0
    folder = tmp_path / "out" / "feeling"
    assert softprompt("task", "export", "mood@4", folder, "--data-dir", data_dir)[0] == 0
    assert json.loads((folder / "manifest.json").read_text())["members"] == ["3", "1"]
    code, _, err = softprompt("task", "export", "mood@4", folder, "--data-dir", data_dir)
    assert (code, "--force" in err) == (1, True)

    from server.cli.tasks.ensemble_folder import publish_folder, publish_members
    from server.cli.tasks.import_folder import import_folder

    again = publish_folder(backend, folder, promote=True)
    original = backend.get_version("mood@4")
    assert (again.task, again.version, again.digest) == ("feeling", 3, original.digest)
    assert backend.get_version("feeling").members == (1, 2)
    (imported,), refused = import_folder(backend, tmp_path / "out", promote=False)
    assert (imported.created, refused) == (False, {})
    assert publish_members(backend, folder, "mood", note=None, promote=False).version == 4


def test_a_folder_that_is_neither_is_refused(softprompt, data_dir, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for members in (None, "1", [1], ["../up"], [".."], [""]):
        (folder / "manifest.json").write_text(json.dumps({"members": members}))
        code, _, err = softprompt("task", "publish", folder, "--fingerprint", "f" * 64, "--data-dir", data_dir)
        assert (code, "names the folders of its members" in err) == (1, True), err


def test_generate_asks_an_ensemble_for_its_whole_answer(softprompt, url, publish, backend):
    for seed in (1, 2):
        publish("mood", seed)
    softprompt("task", "publish-ensemble", "mood", "1", "2", "--url", url)
    code, _, err = softprompt("generate", "mood@3", "a", "--url", url)
    assert (code, "does not support stream" in err) == (1, True)
    assert softprompt("generate", "mood@3", "a", "--no-stream", "--url", url) == (0, "fine\n", "")
