"""Checkpoints with an embedding layer inside, published from a folder: what is read, compared, said and sent."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save_file

from prompts_store.checkpoint import folder as version_folder
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.cli.tasks.checkpoint_folder import read_publication
from server.demo import BASE_DIR, TASKS_DIR

LAYER = "base_model.model.embed_tokens.weight"
ENCODER = "prompt_encoder.default.embedding.weight"


@pytest.fixture(params=["whole", "in parts"])
def size(request, monkeypatch):
    """Whether a file is small enough to be read as a whole."""
    if request.param == "in parts":
        monkeypatch.setattr(version_folder, "MAX_WHOLE_BYTES", 100)
    return request.param


@pytest.fixture
def words():
    """The embedding layer of the demo's base model."""
    with safe_open(BASE_DIR / "model.safetensors", "pt") as file:
        (name,) = [name for name in file.keys() if "embed_tokens" in name]  # noqa: SIM118 - it is no dictionary
        return file.get_tensor(name)


@pytest.fixture
def write(tmp_path):
    """Write the demo's checkpoint with other tensors beside its own; return the folder."""

    def run(**others):
        folder = tmp_path / "tasks" / "sentiment"
        shutil.copytree(TASKS_DIR / "sentiment", folder, dirs_exist_ok=True)
        file = folder / "adapter_model.safetensors"
        tensors = load_file(TASKS_DIR / "sentiment" / file.name)
        save_file({**tensors, **others}, file)
        return folder

    return run


def test_the_base_models_own_layer_is_left_out_and_said(softprompt, write, words, data_dir, size):
    """The version is the one without it; standard output has the version alone."""
    folder = write(**{LAYER: words, ENCODER: torch.zeros(2, 3)})
    code, out, err = softprompt("task", "publish", folder, "--data-dir", data_dir)
    assert (code, out) == (0, "sentiment@1\n"), err
    assert sorted(err.splitlines()) == [
        f"note: left out {LAYER} ({words.nbytes} bytes): it is the base model's own",
        f"note: left out {ENCODER} (24 bytes): serving does not use it",
    ]
    code, out, err = softprompt("task", "publish", TASKS_DIR / "sentiment", "--json", "--data-dir", data_dir)
    assert (err, json.loads(out)["created"]) == ("", False)


def test_another_layer_is_refused(softprompt, write, words, data_dir, size):
    """By its values, or by the size of its vocabulary."""
    for other, problem in ((words + 1, "other values"), (words[:-1], "another vocabulary")):
        code, out, err = softprompt("task", "publish", write(**{LAYER: other}), "--data-dir", data_dir)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert problem in err and LAYER in err


def test_import_says_it_too(softprompt, write, words, data_dir, size):
    """With the task's name."""
    folder = write(**{LAYER: words}).parent
    code, out, err = softprompt("task", "import", folder, "--json", "--data-dir", data_dir)
    assert (code, [one["task"] for one in json.loads(out)["published"]]) == (0, ["sentiment"])
    assert err.startswith(f"note: sentiment: left out {LAYER} ")


def test_a_large_file_is_sent_without(write, words, monkeypatch):
    """Of a small one everything is sent, so that the server compares."""
    folder = write(**{LAYER: words})
    files = read_publication(folder, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES).files
    assert (LAYER in load(files.tensors), files.left_out) == (True, None)
    monkeypatch.setattr(version_folder, "MAX_WHOLE_BYTES", 100)
    files = read_publication(folder, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES).files
    assert load(files.tensors).keys() == {"prompt_embeddings"}
    assert [entry.name for entry in files.left_out.entries] == [LAYER]
