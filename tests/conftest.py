"""What every test shares: no network for models, and one tensor thread a worker."""

import gc
import logging
import os
import signal
import sys
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
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOGGERS = (None, "server", "prompts_store", PROMPTS, "uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error")
TRANSFORMERS_LOGGING = "transformers.utils.logging"
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
def process_as_it_was():
    """What a command sets for its process does not reach the next test: variables, signals, progress bars, logging."""
    environment, handlers = dict(os.environ), {number: signal.getsignal(number) for number in SIGNALS}
    shows_progress = _shows_progress()
    loggers = {logger: _state_of(logger) for logger in map(logging.getLogger, LOGGERS)}
    yield
    for logger, (level, propagate, handles, filters) in loggers.items():
        logger.setLevel(level)
        logger.propagate, logger.handlers[:], logger.filters[:] = propagate, handles, filters
    if shows_progress and not _shows_progress():
        sys.modules[TRANSFORMERS_LOGGING].enable_progress_bar()
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})


def _state_of(logger: logging.Logger):
    return logger.level, logger.propagate, logger.handlers[:], logger.filters[:]


def _shows_progress() -> bool:
    """Whether transformers draws bars; it does when it is imported."""
    library = sys.modules.get(TRANSFORMERS_LOGGING)
    return library is None or library.is_progress_bar_enabled()


@pytest.fixture
def tensors_on_device():
    """Tensors that a test makes lie on the device under test."""
    torch.set_default_device(tests.devices.DEVICE)
    yield
    torch.set_default_device(None)
