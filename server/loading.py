"""Building an application from settings, for every way to start one: the command line, Ray Serve, tests."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.settings import ServeSettings

if TYPE_CHECKING:
    from fastapi import FastAPI


class LoadFailed(Exception):
    """The application cannot be built. The message is written for the operator."""


def load(settings: ServeSettings) -> FastAPI:
    """Build the application. This imports PyTorch, which no earlier step does. Raises LoadFailed."""
    with importing():
        if not sys.stderr.isatty():
            hide_progress_bars()
        from server.api.access.quotas import RedisMissing
        from server.app import KeyNeeded, TasksFolderUnreadable, build_services, create_app
        from server.jobs.process.child import TuningProcessFailed
        from server.model.errors import ModelError
        from server.telemetry.tracing import TracingUnavailable
        from server.tokenizer.errors import TextError

    try:
        app = create_app(build_services(settings))
    except (
        ModelError,
        TextError,
        KeyNeeded,
        RedisMissing,
        TasksFolderUnreadable,
        TracingUnavailable,
        TuningProcessFailed,
    ) as error:
        raise LoadFailed(str(error)) from error
    keep_what_is_loaded()
    return app


@contextmanager
def importing() -> Iterator[None]:
    """Import without garbage collection, and take what was imported out of it.

    The libraries are about half a million objects, which stay as long as the process. Collections that find nothing
    among them would be a quarter of the imports' time, and each later one would traverse them again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def keep_what_is_loaded() -> None:
    """Take all objects that exist now out of garbage collection, which would pause every request to traverse them."""
    gc.collect()
    gc.freeze()


def hide_progress_bars() -> None:
    """Turn off the progress bars of loading weights, which would clutter logs and other displays.

    tqdm reads its variable when it is imported: reading a GGUF file has a bar without a switch of its own.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bars()
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
