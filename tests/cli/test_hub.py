"""`softprompt task publish ORG/NAME`: what is downloaded, and what is said if that fails. There is no network."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from safetensors import safe_open
from safetensors.torch import load_file, save

from prompts_store.checkpoint import folder as version_folder
from server.cli.tasks import hub as hub_module
from server.cli.tasks.hub import is_hub_id
from server.demo import BASE_DIR, TASKS_DIR

HUB_ID = "someone/sentiment"
LAYER = "base_model.model.embed_tokens.weight"
COMMIT, OTHER = "a" * 40, "b" * 40


@pytest.fixture
def publish(softprompt, data_dir):
    """Publish an id into a database; return the exit code, standard output and standard error."""
    return lambda *arguments: softprompt("task", "publish", *arguments, "--data-dir", data_dir)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub's cache made by hand: the demo's checkpoint of two commits, its files links to blobs."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--sentiment"
    for commit in (COMMIT, OTHER):
        snapshot, blobs = repository / "snapshots" / commit, repository / "blobs" / commit
        snapshot.mkdir(parents=True)
        shutil.copytree(TASKS_DIR / ("sentiment" if commit == COMMIT else "triage"), blobs)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (snapshot / name).symlink_to(os.path.relpath(blobs / name, snapshot))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with these files at one commit; return the downloads, as pairs of a name and a revision.

    `num_bytes` is the size of the tensors that it tells.
    """

    def serve(*names, failure=None, **sizes):
        sizes = {"adapter_model.safetensors": sizes.get("num_bytes", 1000)}
        folder, asked = tmp_path / "snapshots" / COMMIT, []
        folder.mkdir(parents=True, exist_ok=True)

        def hf_hub_download(repo_id, filename, *, revision, dry_run=False):
            assert repo_id == HUB_ID
            if dry_run and filename in names:
                return SimpleNamespace(is_cached=False, file_size=sizes.get(filename))
            asked.append((filename, revision))
            if failure is not None:
                raise failure
            if filename not in names:
                raise errors.EntryNotFoundError("404 Client Error\nnot found")
            return shutil.copy(TASKS_DIR / "sentiment" / filename, folder)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
        monkeypatch.setattr(huggingface_hub, "file_exists", lambda _, name, *, revision: name in names)
        return asked

    return serve


@pytest.fixture
def large(monkeypatch, hub):
    """A hub whose tensors are a large file, with an embedding layer inside; return the ranges that are asked for."""

    def serve(layer, *, takes_ranges=True, status=206):
        tensors = load_file(TASKS_DIR / "sentiment" / "adapter_model.safetensors")
        data = save({**tensors, LAYER: layer})
        monkeypatch.setattr(hub_module, "MAX_WHOLE_BYTES", 100)
        monkeypatch.setattr(version_folder, "MAX_WHOLE_BYTES", 100)
        hub("adapter_config.json", "adapter_model.safetensors", num_bytes=len(data))
        ranges = []

        def answer(request):
            assert request.url.path == f"/{HUB_ID}/resolve/{COMMIT}/adapter_model.safetensors"
            begin, end = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
            ranges.append(end + 1 - begin)
            return httpx2.Response(status, content=data[begin : end + 1] if takes_ranges else data)

        client = httpx2.Client(transport=httpx2.MockTransport(answer))
        monkeypatch.setattr(huggingface_hub, "get_session", lambda: client)
        return ranges

    return serve


def own_layer():
    """The embedding layer of the demo's base model."""
    with safe_open(BASE_DIR / "model.safetensors", "pt") as file:
        return file.get_tensor("model.embed_tokens.weight")


def http_error(kind):
    """An error of the hub's library, as a response of its HTTP client carries it."""
    error = kind.__new__(kind)
    OSError.__init__(error, "503 Server Error")
    return error


def test_a_checkpoint_in_the_cache_is_published_offline(publish, cache):
    """The task has the name of the id."""
    assert publish(HUB_ID) == (0, "sentiment@1\n", "")


def test_a_revision_is_another_commit(publish, cache):
    """It is in the cache under its number."""
    assert publish(HUB_ID)[1] == "sentiment@1\n"
    assert publish(HUB_ID, "--revision", OTHER, "--task", "sentiment")[1] == "sentiment@2\n"
    assert "nothing new" in publish(HUB_ID, "--revision", COMMIT)[1]


def test_two_files_of_one_commit_are_downloaded(publish, hub):
    """The second one by the commit of the first, whatever happens to the branch; nothing else is asked for."""
    asked = hub("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
    assert publish(HUB_ID, "--revision", "v1")[1] == "sentiment@1\n"
    assert asked == [("adapter_config.json", "v1"), ("adapter_model.safetensors", COMMIT)]


def test_a_manifest_comes_from_here(publish, cache, tmp_path, softprompt, data_dir):
    """One that lies in the cache is not read: the two files alone were asked for."""
    (cache / COMMIT / "manifest.json").write_text("no JSON")
    (tmp_path / "own.json").write_text('{"note": "own"}')
    assert publish(HUB_ID, "--manifest", tmp_path / "own.json")[0] == 0
    assert "own" in softprompt("task", "show", "sentiment", "--json", "--data-dir", data_dir)[1]


def test_a_version_says_where_it_is_from(publish, cache, softprompt, data_dir, tmp_path):
    """By the commit, unless there is another note."""
    (tmp_path / "own.json").write_text('{"note": "of the manifest"}')
    publish(HUB_ID, "--task", "a")
    publish(HUB_ID, "--task", "b", "--note", "own")
    publish(HUB_ID, "--task", "c", "--manifest", tmp_path / "own.json")
    shown = [softprompt("task", "show", task, "--json", "--data-dir", data_dir)[1] for task in "abc"]
    notes = [json.loads(text)["versions"][0]["manifest"]["note"] for text in shown]
    assert notes == [f"from {HUB_ID}@{COMMIT}", "own", "of the manifest"]


def test_of_a_large_file_parts_are_downloaded(publish, large, tmp_path):
    """The header and the soft prompt; for a database, the embedding layer too as far as it is compared."""
    ranges = large(own_layer())
    code, out, err = publish(HUB_ID)
    assert (code, out, ranges[0]) == (0, "sentiment@1\n", 8), err
    assert err == f"note: left out {LAYER} ({own_layer().nbytes} bytes): it is the base model's own\n"
    (tmp_path / "none.json").write_text("{}")
    assert "nothing new" in publish(TASKS_DIR / "sentiment", "--manifest", tmp_path / "none.json")[1]


def test_another_embedding_layer_on_the_hub_is_refused(publish, large):
    """By the header alone if its vocabulary is of another size: the length, the header and the prompt are read."""
    ranges = large(own_layer()[:-1])
    assert "another vocabulary" in publish(HUB_ID)[2]
    assert len(ranges) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"takes_ranges": False}, "the hub does not send parts of adapter_model.safetensors of someone/sentiment"),
        ({"status": 200}, "download it with `hf download`, and publish its folder"),
        ({"status": 503}, "a part of adapter_model.safetensors of someone/sentiment cannot be downloaded"),
    ],
)
def test_a_hub_that_sends_no_parts_is_one_line(publish, large, options, message):
    """It ignores ranges, or fails."""
    large(own_layer(), **options)
    code, out, err = publish(HUB_ID)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_a_local_folder_takes_precedence(publish, hub, tmp_path, monkeypatch):
    """The hub is not asked."""
    asked = hub()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TASKS_DIR / "sentiment", Path(HUB_ID))
    assert publish(HUB_ID)[1] == "sentiment@1\n"
    code, _, err = publish(HUB_ID, "--revision", "v1")
    assert (code, asked) == (2, [])
    assert f"{HUB_ID} is a path here" in err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["adapter_config.json", "adapter_model.bin"],
            f"--revision {COMMIT} --local-dir DIR`, then `softprompt task convert DIR`",
        ),
        (["adapter_config.json"], "has no adapter_model.safetensors"),
        (["model.safetensors"], "has no adapter_config.json: it is no PEFT checkpoint"),
    ],
)
def test_what_the_hub_lacks_is_said(publish, hub, names, message):
    """Only a pickle, with the way to convert it; no tensors; no checkpoint."""
    hub(*names)
    code, out, err = publish(HUB_ID)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.RepositoryNotFoundError, "is neither a folder here nor a checkpoint on the hub that you may read"),
        (errors.GatedRepoError, "is neither a folder here nor a checkpoint on the hub that you may read"),
        (errors.RevisionNotFoundError, "on the hub has no revision v9"),
        (errors.HfHubHTTPError, "adapter_config.json of someone/sentiment cannot be downloaded"),
        (errors.HFValidationError, "is neither a folder here nor the id of a checkpoint on a hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line(publish, hub, kind, message):
    """Not found, gated, another revision, a failure of the hub, an id that is none."""
    hub(failure=http_error(kind) if issubclass(kind, OSError) else kind("bad"))
    code, out, err = publish(HUB_ID, "--revision", "v9")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_without_network_and_cache_one_line_says_so(publish, cache):
    """An id that was never downloaded, and one whose tensors were not."""
    for hub_id in ("someone/else", HUB_ID):
        (cache / COMMIT / "adapter_model.safetensors").unlink(missing_ok=True)
        code, out, err = publish(hub_id)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert f"{hub_id} is no folder here, the hub cannot be reached" in err


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("org/name", True),
        ("Org-1/My_prompt.v2", True),
        ("name", False),
        ("./org/name", False),
        ("../name", False),
        ("/org/name", False),
        ("a/b/c", False),
        ("org/", False),
        ("~/name", False),
        ("-x/name", False),
    ],
)
def test_an_id_has_two_parts(source, expected):
    """Every other text is a path."""
    assert is_hub_id(source) is expected
