"""The task commands against our own HTTP API, over a real socket: the two sides of the wire agree."""

import json

import pytest
from safetensors.numpy import load_file

from server.api.services import Services
from server.app import create_app
from server.soft_prompts.catalog import TaskCatalog
from tests.cli.conftest import BASE


@pytest.fixture
def url(serving, backend):
    """A server over the test's database; nothing here asks its engine or tokenizer."""
    services = Services(
        engine=None,
        tokenizer=None,
        catalog=TaskCatalog(backend.store, BASE),
        store=backend.store,
        base=BASE,
        base_id="tiny",
        eos_token_ids=frozenset(),
    )
    with serving(create_app(services)) as url:
        yield url


def test_a_task_s_whole_life(softprompt, url, write_checkpoint, tmp_path):
    """Published, improved, promoted, rolled back, exported, retired and deleted, without a look at the database."""

    def task(*arguments):
        code, out, err = softprompt("task", *arguments, "--url", url)
        assert (code, err) == (0, "")
        return out

    first = write_checkpoint("mood", 0.5, {"description": "Says how it sounds.", "labels": ["up", "down"]})
    assert task("publish", first) == "mood@1\n"
    assert task("publish", first).startswith("mood@1 (nothing new")
    second = write_checkpoint("mood", 0.25, {"labels": ["up", "down"]})
    assert task("publish", second, "--note", "better") == "mood@2\n"

    assert json.loads(task("list", "--json")) == [
        {"name": "mood", "description": "Says how it sounds.", "latest_version": 2, "production_version": 1}
    ]
    assert [line.split()[:3] for line in task("show", "mood").splitlines()[2:]] == [
        ["2", "-", "PROMPT_TUNING"],
        ["1", "production", "PROMPT_TUNING"],
    ]
    assert task("promote", "mood", 2) == "mood@production -> 2\n"
    assert task("rollback", "mood") == "mood@production -> 1\n"

    task("export", "mood@2", tmp_path / "out")
    assert load_file(tmp_path / "out" / "adapter_model.safetensors")["prompt_embeddings"][0, 0] == 0.25
    assert task("publish", tmp_path / "out", "--task", "mood").startswith("mood@2 (nothing new")

    assert task("retire", "mood", 2) == "retired mood@2\n"
    assert task("delete", "mood", "--yes") == "deleted mood\n"
    assert json.loads(task("list", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nothing"], "nothing"),
        (["show", "Not A Name"], "task name"),
        (["rollback", "mood"], "earlier"),
        (["retire", "mood", "1"], "production"),
        (["promote", "mood", "9"], "9"),
    ],
    ids=str,
)
def test_a_refusal_of_the_server_is_one_line(softprompt, url, write_checkpoint, arguments, words):
    """The server's own words, exit code 1."""
    softprompt("task", "publish", write_checkpoint("mood"), "--url", url)
    code, out, err = softprompt("task", *arguments, "--url", url)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert words in err


def test_a_checkpoint_that_does_not_fit_is_refused_with_its_file(softprompt, url, write_checkpoint):
    """Which of the two files is at fault."""
    folder = write_checkpoint("mood")
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    code, _, err = softprompt("task", "publish", folder, "--url", url)
    assert code == 1
    assert err.startswith("softprompt: adapter_model: ")
