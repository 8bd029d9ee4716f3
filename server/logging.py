"""Logging of the process: one line an event on standard error, as text for people or as JSON for machines.

What a request was asked and answered is in no line unless prompts are asked for; a traceback shows code, never the
values of variables.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Literal

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

OURS = ("server", "prompts_store")
PROMPTS = "server.api.inference.prompts"
"""The logger of prompts; silent unless they are asked for."""

LogFormat = Literal["auto", "text", "json"]
_ACCESS = "uvicorn.access"


def configure_logging(
    level: str, log_format: LogFormat = "auto", *, access_log: bool = False, prompts: bool = False
) -> None:
    """Log our own packages from `level` up and everything else from warnings up.

    `auto` is text on a terminal and JSON elsewhere. `access_log` adds a line for each HTTP request, as level `debug`
    does; `prompts` adds each prompt as the model sees it.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(_json_formatter() if as_json else _text_formatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger(PROMPTS).setLevel(logging.INFO if prompts else logging.CRITICAL)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    logging.getLogger(_ACCESS).setLevel(logging.INFO if access_log or level == "debug" else logging.WARNING)


def _json_formatter() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_common(),
        pass_foreign_args=True,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
    )


def _text_formatter() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_common(),
        pass_foreign_args=True,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        ],
    )


def _common() -> list[Processor]:
    """What every line has; the request's id comes from the context in which it is logged."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _split_access,
    ]


def _split_access(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """uvicorn's access line as fields. The query is left out: clients put secrets there."""
    arguments = event.pop("positional_args", None)
    if event["logger"] == _ACCESS and isinstance(arguments, tuple):
        client, method, path, _http, status = arguments
        event["event"] = "request"
        event.update(client=client, method=method, path=str(path).partition("?")[0], status=status)
    return event


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """A request that is cut off when the grace time ends is no error; uvicorn would print a traceback for it."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
