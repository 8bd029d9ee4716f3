"""A database with one base model, and checkpoints that fit it."""

import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from safetensors.numpy import save

from prompts_store.records import BaseModel
from prompts_store.store import Store
from server.cli import main
from server.cli.http_server import HttpServer, http_config
from server.cli.serve import bind
from server.cli.store_backend import StoreTaskBackend
from server.settings import ServeSettings, sqlite_url

BASE = BaseModel(
    fingerprint="f" * 64,
    names=("tiny",),
    hidden_size=8,
    num_layers=2,
    num_kv_heads=2,
    head_dim=4,
    max_context=64,
    serving_dtype="float32",
)


@pytest.fixture
def write_checkpoint(tmp_path):
    """Write a prompt-tuning checkpoint whose every value is `fill` into a folder of this name; return the folder."""

    def write(name, fill=0.5, manifest=None):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "peft_type": "PROMPT_TUNING",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "tiny",
            "num_virtual_tokens": 3,
            "token_dim": BASE.hidden_size,
        }
        (folder / "adapter_config.json").write_text(json.dumps(config))
        tensors = {"prompt_embeddings": np.full((3, BASE.hidden_size), fill, np.float32)}
        (folder / "adapter_model.safetensors").write_bytes(save(tensors))
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
    """Run the command line; return its exit code, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def serving():
    """Serve an application on a free port while the block runs; the block gets the URL."""

    @contextmanager
    def serve(app):
        ready = threading.Event()
        with bind("127.0.0.1", 0) as listener:
            server = HttpServer(http_config(app, ServeSettings()), on_ready=ready.set)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                assert ready.wait(timeout=10)
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()

    return serve
