"""A database with one base model, and checkpoints that fit it."""

import json
import logging

import pytest

from prompts_store.store import Store
from server.cli import main
from server.cli.tasks.store_backend import StoreTaskBackend
from server.settings import sqlite_url
from tests.fakes.checkpoints import BASE, prompt_tuning_files


@pytest.fixture
def write_checkpoint(tmp_path):
    """Write a prompt-tuning checkpoint, drawn from `seed`, into a folder of this name; return the folder."""

    def write(name, seed=0, manifest=None):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        files = prompt_tuning_files(seed=seed)
        (folder / "adapter_config.json").write_bytes(files["adapter_config"])
        (folder / "adapter_model.safetensors").write_bytes(files["adapter_model"])
        if manifest is not None:
            (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


@pytest.fixture
def data_dir(tmp_path):
    """A data folder with an empty database."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def backend(data_dir):
    """The tasks of that database, as a backend."""
    with Store.open(sqlite_url(data_dir)) as store:
        yield StoreTaskBackend(store, BASE.fingerprint, lambda: BASE)


@pytest.fixture
def softprompt(capsys):
    """Run the command line; return its exit code, standard output and standard error.

    `serve` logs to the standard error of its own test, which is closed when that ends.
    """
    handlers = logging.root.handlers[:]

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    yield run
    logging.root.handlers[:] = handlers
