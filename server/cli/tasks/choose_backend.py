"""The backend of a task command: a server, or (where one is named) a database."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec

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
    """Turn a function of a backend into a typer command that has the options of `BackendOptions` besides its own."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = inspect.signature(BackendOptions, eval_str=True).parameters

    def run(**given: Any) -> None:
        options = BackendOptions(**{name: given.pop(name) for name in shared})
        with open_backend(options) as backend:
            command(backend, **given)  # type: ignore[call-arg]  # typer gives what the signature below asks for

    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what inspect documents, mypy does not know
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared.values())]
    )
    return run
