"""Where the task commands work: the options they share, and the backend that these options mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from server.cli.tasks.backend import TaskBackend

Command = ParamSpec("Command")
DEFAULT_URL = "http://127.0.0.1:8000"
_SERVER, _DATABASE = "On a server", "Straight on a database"


def _option(flag: str, text: str, panel: str, variable: str | None = None) -> Any:
    shown = f"{text} ({variable})" if variable else text
    return typer.Option(
        flag, help=shown, rich_help_panel=panel, envvar=variable, show_envvar=False, show_default=flag == "--url"
    )


Url = Annotated[str, _option("--url", "The server.", _SERVER, "SOFTPROMPT_URL")]
ApiKey = Annotated[str | None, _option("--api-key", "A key of the server.", _SERVER, "SOFTPROMPT_API_KEY")]
DatabaseUrl = Annotated[str | None, _option("--database-url", "The database; --url is not used.", _DATABASE)]
DataDir = Annotated[Path | None, _option("--data-dir", "The server's data folder; --url is not used.", _DATABASE)]


@dataclass(frozen=True, slots=True)
class Target:
    """A server, or (where a database is named) a database and the base model whose tasks are meant."""

    url: Url = DEFAULT_URL
    api_key: ApiKey = None
    database_url: DatabaseUrl = None
    data_dir: DataDir = None
    base_model: Annotated[
        str | None, _option("--base-model", "The base model, as for `serve`; needed to publish.", _DATABASE)
    ] = None
    fingerprint: Annotated[
        str | None, _option("--fingerprint", "The base model, where the database knows several.", _DATABASE)
    ] = None


@contextmanager
def open_backend(target: Target) -> Iterator[TaskBackend]:
    """Open the backend that a target means. Raises CliError or StoreError."""
    if target.database_url is None and target.data_dir is None:
        from server.cli.connection import connect
        from server.cli.tasks.http_backend import HttpTaskBackend

        with connect(target.url, target.api_key) as connection:
            yield HttpTaskBackend(connection)
    else:
        from server.cli.tasks.store_backend import open_store_backend

        with open_store_backend(target) as backend:
            yield backend


def on_tasks(command: Callable[Concatenate[TaskBackend, Command], None]) -> Callable[..., None]:
    """Turn a function of a backend into a typer command that has the target's options besides its own."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = inspect.signature(Target, eval_str=True).parameters

    def run(**given: Any) -> None:
        target = Target(**{name: given.pop(name) for name in shared})
        with open_backend(target) as backend:
            command(backend, **given)  # type: ignore[call-arg]  # typer gives what the signature below asks for

    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what inspect documents, mypy does not know
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared.values())]
    )
    return run
