"""`softprompt task convert`: what it writes, and what it refuses without a trace."""

import json
import os
import pickle
import shutil
import subprocess

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from server.cli.tasks import pickle_process
from server.demo import TASKS_DIR
from tests.cli import forked_worker

ROWS = torch.arange(32, dtype=torch.float32).reshape(4, 8)


@pytest.fixture
def old_folder(tmp_path):
    """Write a folder with `adapter_config.json` of a type and an `adapter_model.bin` of this content; return it."""

    def write(content, peft_type="PROMPT_TUNING", **options):
        folder = tmp_path / "old"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": peft_type}))
        torch.save(content, folder / "adapter_model.bin", **options)
        return folder

    return write


EXECUTED = {"test_a_converted_checkpoint_is_published", "test_a_module_in_the_present_folder_is_not_imported"}
"""In these tests the worker is a process that Python starts, as for users."""


@pytest.fixture(autouse=True)
def forked(request, monkeypatch):
    """In all others it is forked."""
    if request.function.__name__ not in EXECUTED:
        monkeypatch.setattr(pickle_process.subprocess, "run", forked_worker.run)


@pytest.fixture
def refused(softprompt):
    """Convert a folder; return the one line that refuses it. Nothing was made."""

    def run(folder, *options):
        before = sorted(folder.parent.rglob("*"))
        code, out, err = softprompt("task", "convert", folder, *options)
        assert (code, out, err.count("\n")) == (1, "", 1), err
        assert sorted(folder.parent.rglob("*")) == before
        return err

    return run


class Intruder:
    """A pickle of it runs a command of the shell where it is opened without care."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_a_converted_checkpoint_is_published(softprompt, tmp_path, data_dir):
    """The demo's checkpoint, as an old PEFT saved it, becomes the same version again."""
    folder = shutil.copytree(TASKS_DIR / "sentiment", tmp_path / "sentiment")
    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    assert softprompt("task", "publish", TASKS_DIR / "sentiment", "--data-dir", data_dir)[:2] == (0, "sentiment@1\n")
    assert "run `softprompt task convert" in softprompt("task", "publish", folder, "--data-dir", data_dir)[2]
    code, out, err = softprompt("task", "convert", folder)
    assert (code, out, err) == (0, f"{folder} -> {folder}/adapter_model.safetensors: prompt_embeddings\n", "")
    assert "nothing new" in softprompt("task", "publish", folder, "--data-dir", data_dir)[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_values_and_dtype_stay(softprompt, old_folder, tmp_path, dtype):
    """With `--out` the whole checkpoint is in the new folder, and the old one is as it was."""
    folder, out = old_folder({"prompt_embeddings": ROWS.to(dtype).t()}), tmp_path / "new"
    (folder / "manifest.json").write_text('{"note": "kept"}')
    before = sorted(folder.iterdir())
    assert softprompt("task", "convert", folder, "--out", out)[0] == 0
    assert sorted(folder.iterdir()) == before
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    }
    with safe_open(out / "adapter_model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        found = file.get_tensor("prompt_embeddings")
    assert found.dtype == dtype and torch.equal(found, ROWS.to(dtype).t())


@pytest.mark.parametrize("zipped", [True, False])
def test_what_serving_does_not_need_is_left_out_and_named(softprompt, old_folder, zipped):
    """An embedding layer that was saved along, and the encoder of P-tuning; in both of PyTorch's formats."""
    others = ["base_model.transformer.word_embeddings.weight", "prompt_encoder.default.mlp_head.0.weight"]
    content = {"prompt_embeddings": ROWS, **{name: torch.zeros(1000, 8) for name in others}}
    folder = old_folder(content, "P_TUNING", _use_new_zipfile_serialization=zipped)
    code, out, _ = softprompt("task", "convert", folder)
    assert code == 0
    assert out.splitlines()[1:] == [
        f"left out {others[0]} (32000 bytes): it was not compared with the base model's own",
        f"left out {others[1]} (32000 bytes): serving does not use it",
    ]
    assert list(load_file(folder / "adapter_model.safetensors")) == ["prompt_embeddings"]


def test_a_multitask_checkpoint_keeps_all_its_tensors(softprompt, old_folder):
    """They are three."""
    content = {name: ROWS for name in ("prefix_task_rows", "prefix_task_cols", "prompt_embeddings")}
    folder = old_folder(content, "MULTITASK_PROMPT_TUNING")
    assert softprompt("task", "convert", folder)[0] == 0
    assert load_file(folder / "adapter_model.safetensors").keys() == content.keys()


def test_a_head_is_kept(softprompt, old_folder):
    """Where the task type has one; publishing checks its names."""
    content = {"prompt_embeddings": ROWS, "base_model.score.weight": ROWS, "base_model.transformer.wte.weight": ROWS}
    folder = old_folder(content)
    (folder / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING", "task_type": "SEQ_CLS"}')
    code, out, _ = softprompt("task", "convert", folder)
    assert (code, "prompt_embeddings and a head\nleft out base_model.transformer.wte.weight" in out) == (0, True)
    assert load_file(folder / "adapter_model.safetensors").keys() == {"prompt_embeddings", "base_model.score.weight"}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(old_folder, refused, tmp_path, zipped, protocol):
    """A command of the shell in the place of a tensor is named and refused, and left no trace."""
    trace = tmp_path / "trace"
    content = {"prompt_embeddings": Intruder(trace)}
    folder = old_folder(content, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    err = refused(folder)
    assert not trace.exists()
    assert "adapter_model.bin is " in err
    assert "system" in err or protocol == 4  # PyTorch reads no newer protocol at all


def test_a_bare_pickle_with_code_is_not_run(old_folder, refused, tmp_path):
    """Without PyTorch's frame around it. Opened without care, it does leave its trace."""
    folder, trace = old_folder({}), tmp_path / "trace"
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Intruder(trace), protocol=2))
    refused(folder)
    assert not trace.exists()
    pickle.loads((folder / "adapter_model.bin").read_bytes())
    assert trace.exists()


def test_a_module_in_the_present_folder_is_not_imported(softprompt, old_folder, monkeypatch):
    """A checkpoint from outside may bring a `torch.py`."""
    folder = old_folder({"prompt_embeddings": ROWS})
    (folder / "torch.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(folder)
    assert softprompt("task", "convert", ".")[0] == 0


def test_the_refusal_of_the_process_reaches_the_user(old_folder, refused):
    """As one line with the file's path."""
    folder = old_folder({"prompt_embeddings": ROWS, "score.weight": ROWS})
    assert (
        refused(folder)
        == f"softprompt: {folder}/adapter_model.bin holds tensors that no soft prompt has: score.weight\n"
    )
    assert "more than 8 bytes" in refused(old_folder({"prompt_embeddings": ROWS}), "--max-tensor-bytes", 8)


def test_a_folder_is_refused_before_its_pickle_is_read(refused, old_folder, tmp_path, monkeypatch):
    """No folder, no file, both files, another type of adapter, a pipe, a file that is too large, a full folder."""
    monkeypatch.setattr(pickle_process.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    folder = old_folder({"prompt_embeddings": ROWS})
    file, tensors = folder / "adapter_model.bin", folder / "adapter_model.safetensors"
    assert f"{file} is not a folder" in refused(file)
    assert "exists, and is no empty folder" in refused(folder, "--out", folder)
    monkeypatch.setattr(pickle_process, "MAX_FILE_BYTES", 100)
    assert "the maximum is 100" in refused(folder)
    tensors.touch()
    assert "adapter_model.safetensors beside adapter_model.bin" in refused(folder)
    tensors.unlink()
    file.unlink()
    assert "has no adapter_model.bin" in refused(folder)
    os.mkfifo(file)
    assert "is not a regular file" in refused(folder)
    assert "is not a regular file" in refused(folder, "--out", tmp_path / "new")
    assert "is not a soft prompt" in refused(old_folder_with_type(folder, "LORA"))
    (folder / "adapter_config.json").unlink()
    assert "adapter_config.json cannot be read" in refused(folder)


def old_folder_with_type(folder, peft_type):
    """Give a folder's configuration another type; return the folder."""
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": peft_type}))
    return folder


class Hoard:
    """A pickle of it asks for 64 GiB, by a name that PyTorch allows."""

    def __reduce__(self):
        return bytearray, (2**36,)


def test_memory_is_bounded(old_folder, refused):
    """A small file that unpacks to much ends at the bound, not at the machine's memory."""
    assert "needs more memory than its size allows" in refused(old_folder({"prompt_embeddings": Hoard()}))


def test_time_is_bounded(old_folder, refused, monkeypatch):
    """A process that does not end is ended, and what it has written is removed."""
    monkeypatch.setattr(pickle_process, "MAX_SECONDS", 0)
    assert "was not read within 0 seconds" in refused(old_folder({"prompt_embeddings": ROWS}))


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (subprocess.CompletedProcess([], -9, "", ""), "was ended by SIGKILL, at a bound of memory or time"),
        (subprocess.CompletedProcess([], 1, "", "Traceback\nOSError: No space left\n"), "OSError: No space left"),
    ],
)
def test_a_process_that_fails_is_one_line(old_folder, refused, monkeypatch, ended, message):
    """Ended by the system, or by an error of its own."""
    monkeypatch.setattr(pickle_process.subprocess, "run", lambda *_, **__: ended)
    assert message in refused(old_folder({"prompt_embeddings": ROWS}))
