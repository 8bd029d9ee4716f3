"""The options that name the place of a command's work: a server, or a database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES

DEFAULT_URL = "http://127.0.0.1:8000"
_SERVER, _DATABASE = "On a server", "Directly on a database"


def _option(flag: str, text: str, panel: str, variable: str | None = None) -> Any:
    shown = f"{text} ({variable})" if variable else text
    return typer.Option(
        flag, help=shown, rich_help_panel=panel, envvar=variable, show_envvar=False, show_default=flag == "--url"
    )


Url = Annotated[str, _option("--url", "URL of the server.", _SERVER, "SOFTPROMPT_URL")]
ApiKey = Annotated[str | None, _option("--api-key", "API key for the server.", _SERVER, "SOFTPROMPT_API_KEY")]
DatabaseUrl = Annotated[
    str | None, _option("--database-url", "URL of the database; --url is then not used.", _DATABASE)
]
DataDir = Annotated[Path | None, _option("--data-dir", "Data folder of the server; --url is then not used.", _DATABASE)]


@dataclass(frozen=True, slots=True)
class LocationOptions:
    """The options of a server, or of a database. A database that is named takes precedence."""

    url: Url = DEFAULT_URL
    api_key: ApiKey = None
    database_url: DatabaseUrl = None
    data_dir: DataDir = None


@dataclass(frozen=True, slots=True)
class BackendOptions(LocationOptions):
    """The options of a server, or of a database and the base model that its tasks belong to."""

    base_model: Annotated[
        str | None, _option("--base-model", "Base model, as for `serve`; needed to publish.", _DATABASE)
    ] = None
    fingerprint: Annotated[
        str | None, _option("--fingerprint", "Fingerprint of the base model, if the database has several.", _DATABASE)
    ] = None
    max_tensor_bytes: Annotated[
        int,
        _option(
            "--max-tensor-bytes",
            "Most bytes of a version's tensors to publish, as for `serve`.",
            _DATABASE,
            "SOFTPROMPT_MAX_TENSOR_BYTES",
        ),
    ] = DEFAULT_MAX_TENSOR_BYTES
