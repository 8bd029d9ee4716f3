"""Logging of the process: one line an event on standard error."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
OURS = ("server", "prompts_store")


def configure_logging(level: str) -> None:
    """Log our own packages from `level` up and everything else from warnings up; `debug` adds HTTP requests."""
    logging.basicConfig(format=FORMAT, level=logging.WARNING, force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if level == "debug" else logging.WARNING)
