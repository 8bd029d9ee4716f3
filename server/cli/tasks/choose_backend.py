"""The choice of a task command's backend: a server, or a database if the options name one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec

from server.cli.option_groups import takes_options
from server.cli.tasks.backend import TaskBackend
from server.cli.where import BackendOptions

Command = ParamSpec("Command")


@contextmanager
def open_backend(options: BackendOptions) -> Iterator[TaskBackend]:
    """Open the backend that the options name. Raises CliError or StoreError."""
    if options.database_url is None and options.data_dir is None:
        from server.cli.connection import connect
        from server.cli.tasks.http_backend import HttpTaskBackend

        with connect(options.url, options.api_key) as connection:
            yield HttpTaskBackend(connection)
    else:
        from server.cli.tasks.store_backend import open_store_backend

        with open_store_backend(options) as backend:
            yield backend


def on_tasks(command: Callable[Concatenate[TaskBackend, Command], None]) -> Callable[..., None]:
    """Turn a function of a backend into a typer command, with `BackendOptions` in front of its own options."""

    def run(options: BackendOptions, **given: Any) -> None:
        with open_backend(options) as backend:
            command(backend, **given)  # type: ignore[call-arg]  # typer passes the parameters of the signature below

    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    options = inspect.signature(run, eval_str=True).parameters["options"]
    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature([options, *own])  # type: ignore[attr-defined]  # as in option_groups.py
    return takes_options(run)
