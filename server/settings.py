"""Settings of `softprompt serve`: an option wins over its environment variable, which wins over the default.

Each field is one option and one variable: `max_num_seqs` is `--max-num-seqs` and `SOFTPROMPT_MAX_NUM_SEQS`. The command
line and the table in the README are made from the descriptions here.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DATABASE_FILE = "softprompt.db"


def default_data_dir() -> Path:
    """The user's data directory for this product, by the platform's custom (not created here)."""
    return Path(platformdirs.user_data_dir("softprompt", appauthor=False))


class ServeSettings(BaseSettings):
    """Everything `softprompt serve` can be told. Unknown names, and values out of range, are refused."""

    model_config = SettingsConfigDict(
        env_prefix="SOFTPROMPT_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # an error must not print the key
        validate_default=True,
    )

    host: str = Field("127.0.0.1", description="Address to listen on; one that is not loopback needs an API key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_key: SecretStr | None = Field(
        None,
        description="Key that clients must send; safer as the variable, since options show in process lists.",
    )
    insecure: bool = Field(False, description="Allow an address that is not loopback without an API key.")

    base_model: str | None = Field(
        None, description="Base model: a hub id or a local folder. Without one, the bundled demo model."
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a hub id.")
    base_names: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Further name that checkpoints may give the base model (repeatable; variable: comma-separated).",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Number type of weights and KV cache: auto, float32, float16 or bfloat16."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto (CUDA if there is one), cpu, cuda or cuda:N."
    )
    attention: Literal["auto", "exact"] = Field(
        "auto",
        description="auto: the device's fastest kernels, and on a GPU decode steps as CUDA graphs. exact: neither.",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads for tensors; by default PyTorch decides, and 1 for the demo."
    )

    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of the database and the caches.")
    database_url: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="Database of the soft prompts; by default SQLite in the data folder.",
    )

    tasks_dir: Path | None = Field(
        None, description="Folder of PEFT checkpoints to publish and promote, now and on change; read-only over HTTP."
    )

    max_context: int | None = Field(None, ge=2, description="Most positions of one sequence; by default the model's.")
    block_size: int = Field(16, ge=1, le=1024, description="Tokens in one block of the KV cache.")
    num_kv_blocks: int | None = Field(None, ge=2, description="Blocks of the KV cache; by default what memory allows.")
    kv_cache_gib: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Size of the KV cache in GiB, instead of blocks."
    )
    max_batch_tokens: int | None = Field(None, ge=1, description="Most tokens in one step; by default by device.")
    max_num_seqs: int = Field(64, ge=1, description="Most sequences that run at once.")
    max_prefix_share: float = Field(
        0.5, gt=0, lt=1, description="Share of the KV cache that soft prompts may take, running and idle together."
    )
    max_waiting: int = Field(1024, ge=1, description="Most requests that wait; more are answered 429.")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="text, json, or auto: text on a terminal and JSON elsewhere."
    )
    access_log: bool = Field(False, description="Log a line for each HTTP request, as level debug does.")
    log_prompts: bool = Field(False, description="Log every prompt as the model sees it; by default none is.")
    max_task_metrics: int = Field(
        200, ge=1, description="Most tasks with figures of their own at /metrics; all others share theirs."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Where to send traces (OTLP over HTTP, extra otel); by default nowhere.",
    )
    engine_timeout_s: float = Field(
        300.0, gt=0, allow_inf_nan=False, description="Seconds without progress after which the server ends itself."
    )
    shutdown_grace_s: float = Field(
        30.0, ge=0, allow_inf_nan=False, description="Seconds that accepted requests get to finish at the end."
    )

    @field_validator("base_names", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        """An environment variable holds names separated by commas."""
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _fits_in_a_header(value.get_secret_value()):
            raise ValueError("must be visible ASCII characters without spaces")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.num_kv_blocks is not None and self.kv_cache_gib is not None:
            raise ValueError("num_kv_blocks and kv_cache_gib say the same thing twice: give one of them")
        if not (self.insecure or self.api_key or is_loopback(self.host)):
            raise ValueError(
                f"{self.host} can be reached from other machines: set SOFTPROMPT_API_KEY, "
                "or pass --insecure if anyone may use and change this server"
            )
        return self

    @property
    def store_url(self) -> str:
        """The database to open: `database_url`, or SQLite in `data_dir`."""
        return self.database_url or sqlite_url(self.data_dir)


def sqlite_url(data_dir: Path) -> str:
    """The URL of the SQLite database in a data folder."""
    return f"sqlite:///{data_dir.expanduser().absolute() / DATABASE_FILE}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than `localhost` counts as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fits_in_a_header(key: str) -> bool:
    return bool(key) and all("!" <= character <= "~" for character in key)
