"""What every test shares: no network for models, and one tensor thread a worker."""

import gc
import logging
import os
import signal
from collections.abc import Generator

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tests.devices  # noqa: I001 - before anything imports Triton, which looks at the environment once

import pytest
import torch

from server.logging import PROMPTS

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)
collect_ignore = ["vllm"]  # `make vllm-test`, in the venv of vLLM


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nearly all that importing makes stays: no garbage collection looks through it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """What is imported by now stays: no garbage collection walks it again, a fifth of many small tests' time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """At the end it is taken down like everything else."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_outside_settings(monkeypatch):
    """A developer's own SOFTPROMPT_ variables never reach a test."""
    for name in [name for name in os.environ if name.startswith("SOFTPROMPT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """What a command sets for its process, the level of a logger or a handler, does not reach the next test."""
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in ("server", "prompts_store", PROMPTS, "uvicorn.access")]
    handlers, level, levels = root.handlers[:], root.level, [logger.level for logger in loggers]
    uvicorn = logging.getLogger("uvicorn.error")
    filters = uvicorn.filters[:]
    yield
    root.handlers[:], uvicorn.filters[:] = handlers, filters
    root.setLevel(level)
    for logger, before in zip(loggers, levels, strict=True):
        logger.setLevel(before)


@pytest.fixture
def tensors_on_device():
    """Tensors that a test makes lie on the device under test."""
    torch.set_default_device(tests.devices.DEVICE)
    yield
    torch.set_default_device(None)
