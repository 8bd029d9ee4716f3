"""Logging of the process: one line an event on standard error."""

from __future__ import annotations

import asyncio
import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
OURS = ("server", "prompts_store")


def configure_logging(level: str) -> None:
    """Log our own packages from `level` up and everything else from warnings up; `debug` adds HTTP requests."""
    logging.basicConfig(format=FORMAT, level=logging.WARNING, force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if level == "debug" else logging.WARNING)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """A request that is cut off when the grace time ends is no error; uvicorn would print a traceback for it."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
