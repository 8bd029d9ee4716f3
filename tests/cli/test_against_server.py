"""The task commands against our own HTTP API, over a real socket: the two sides of the wire agree."""

import io
import json

import pytest

from prompts_store.manifest import Manifest
from tests.api.live_server import live_server
from tests.fakes.checkpoints import classifying_checkpoint
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.services import fake_services
from tests.fakes.tokenizers import byte_level


@pytest.fixture
def url(backend):
    """A server over the test's database, whose engine always says "fine"."""
    tokenizer = byte_level()
    answer = (*tokenizer.encode("fine"), tokenizer.eos_token_id)
    engine = ScriptedEngine(script=lambda request, choice: answer, eos_token_ids=tokenizer.eos_token_ids())
    with live_server(fake_services(backend.store, engine)) as url:
        yield url


def test_a_canary_its_history_and_a_purge(softprompt, url, write_checkpoint):
    """The same commands as on a database, with the reasons kept."""

    def task(*arguments):
        code, out, err = softprompt("task", *arguments, "--url", url)
        assert (code, err) == (0, "")
        return out

    for seed in (1, 2):
        task("publish", write_checkpoint("mood", seed))
    assert task("alias", "set", "mood", "production", "1:90", "2:10", "--reason", "canary") == (
        "mood@production -> 1:90 2:10\n"
    )
    assert "production (10%)" in task("show", "mood")
    assert task("alias", "set", "mood", "next", "2", "--shadow-of", "production") == (
        "mood@next -> 2 (shadow of production)\n"
    )
    assert task("rollback", "mood", "--reason", "errors") == "mood@production -> 1\n"
    moves = json.loads(task("history", "mood", "--json"))
    assert [(move["reason"], move["moved_by"]) for move in moves] == [
        ("errors", "anonymous"), ("canary", "anonymous"), ("", "anonymous"),
    ]  # fmt: skip
    assert "canary" in task("history", "mood")
    assert task("alias", "delete", "mood", "next") == "deleted mood@next\n"
    purged = json.loads(task("delete", "mood", "--purge", "--yes", "--json"))
    assert (purged["task"], purged["num_versions"], purged["num_tensors"]) == ("mood", 2, 2)


@pytest.mark.parametrize("is_remote", [True, False])
def test_a_canary_of_another_task_type_is_refused(softprompt, url, backend, data_dir, write_checkpoint, is_remote):
    """In one line, on a server and on a database; a promotion to the other type is accepted."""
    where = ("--url", url) if is_remote else ("--data-dir", data_dir)
    softprompt("task", "publish", write_checkpoint("mood"), "--url", url)
    backend.store.publish("mood", classifying_checkpoint(), Manifest())
    code, out, err = softprompt("task", "alias", "set", "mood", "production", "1:90", "2:10", *where)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Version 1 is for text generation and version 2 for SEQ_CLS" in err
    assert softprompt("task", "promote", "mood", "2", *where)[1] == "mood@production -> 2\n"


def test_a_folder_is_imported_in_spite_of_a_bad_one(softprompt, url, write_checkpoint):
    """Who is refused is named on standard error, and in the exit code."""
    folder = write_checkpoint("a", 1).parent
    write_checkpoint("b", 2)
    write_checkpoint("bad", 3, {"template": "no placeholder"})
    code, out, err = softprompt("task", "import", folder, "--url", url)
    assert (code, out) == (1, "a@1\nb@1\n")
    assert err.splitlines()[0].startswith("softprompt: bad: manifest.template")
    (folder / "bad" / "manifest.json").unlink()
    code, out, _ = softprompt("task", "import", folder, "--promote", "--json", "--url", url)
    assert code == 0
    assert [(one["task"], one["created"]) for one in json.loads(out)["published"]] == [
        ("a", False), ("b", False), ("bad", True),
    ]  # fmt: skip


def test_a_task_s_whole_life(softprompt, url, write_checkpoint, tmp_path):
    """Published, improved, promoted, rolled back, exported, retired and deleted, without a look at the database."""

    def task(*arguments):
        code, out, err = softprompt("task", *arguments, "--url", url)
        assert (code, err) == (0, "")
        return out

    first = write_checkpoint("mood", 1, {"description": "Says how it sounds.", "labels": ["up", "down"]})
    assert task("publish", first) == "mood@1\n"
    assert task("publish", first).startswith("mood@1 (nothing new")
    second = write_checkpoint("mood", 2, {"labels": ["up", "down"]})
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


def test_generate_prints_the_answer_as_it_comes(softprompt, url, write_checkpoint, monkeypatch):
    """From an argument or from standard input, as text or as the whole answer."""
    softprompt("task", "publish", write_checkpoint("mood"), "--url", url)
    assert softprompt("generate", "mood", "How are you?", "--url", url) == (0, "fine\n", "")
    monkeypatch.setattr("sys.stdin", io.StringIO("How are you?"))
    assert softprompt("generate", "mood@1", "-", "--url", url, "--max-tokens", 2) == (0, "fi\n", "")
    _, out, _ = softprompt("generate", "mood", "How are you?", "--json", "--url", url)
    assert json.loads(out)["choices"][0]["finish_reason"] == "stop"


def test_generate_says_what_is_wrong(softprompt, url):
    """An unknown task, before anything is printed."""
    code, out, err = softprompt("generate", "nothing", "How are you?", "--url", url)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "nothing" in err
