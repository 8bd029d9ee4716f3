"""Settings of `softprompt serve`: an option wins over its environment variable, which wins over the default.

Each field is one option and one variable: `max_num_seqs` is `--max-num-seqs` and `SOFTPROMPT_MAX_NUM_SEQS`. The command
line and the table in the README are made from the descriptions here.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES

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

    host: str = Field("127.0.0.1", description="Address to listen on; one that is not loopback needs a key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    admin_key: SecretStr | None = Field(
        None,
        description="Key with every scope, beside those of the database; safer as the variable or in a file, since "
        "options show in process lists.",
    )
    admin_key_file: Path | None = Field(None, description="File that holds the admin key.")
    insecure: bool = Field(False, description="Allow an address that is not loopback without any key.")

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

    tuning_share: float = Field(
        0.15, gt=0, lt=1, description="Share of the time that a tuning job gets while requests run; idle, it gets all."
    )
    tuning_min_share: float = Field(
        0.05, gt=0, lt=1, description="Share of the time that a tuning job gets while requests queue."
    )
    tuning_micro_batch_tokens: int = Field(
        512, ge=16, description="Most positions that a tuning job computes at once, virtual tokens included."
    )
    tuning_memory_gib: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Memory of a tuning job, in GiB; by default what is left.",
    )
    tuning_checkpoint_s: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="Seconds between the checkpoints of a tuning job."
    )
    tuning_takeover_s: float = Field(
        10.0, gt=1, allow_inf_nan=False, description="Seconds of silence until another server takes a tuning job over."
    )
    max_tuning_jobs: int = Field(16, ge=1, description="Most tuning jobs that have not ended; more are answered 429.")
    max_file_mib: int = Field(64, ge=1, le=1024, description="Largest uploaded file, in MiB.")

    max_wait_s: float = Field(
        60.0, gt=0, allow_inf_nan=False, description="Longest estimated wait in the queue; more is answered 503."
    )

    max_requests_per_minute: int | None = Field(None, ge=1, description="Requests a minute of a key; unlimited.")
    max_tokens_per_minute: int | None = Field(None, ge=1, description="Tokens a minute of a key; unlimited.")
    max_concurrent: int | None = Field(None, ge=1, description="Requests at once of a key; unlimited.")
    redis_url: str | None = Field(
        None, pattern=r"^rediss?://", repr=False, description="Redis that servers count these in together."
    )

    max_header_bytes: int = Field(32 * 1024, ge=1024, description="Most bytes of a request's headers.")
    header_timeout_s: float = Field(10.0, gt=0, allow_inf_nan=False, description="Seconds for a request's headers.")
    body_timeout_s: float = Field(10.0, gt=0, allow_inf_nan=False, description="Seconds that a body may stall.")
    write_timeout_s: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="Seconds that a client may leave an answer unread."
    )
    max_body_bytes: int = Field(4 * 1024**2, ge=1024, description="Most bytes of a body that is no upload.")
    max_tensor_bytes: int = Field(
        DEFAULT_MAX_TENSOR_BYTES,
        ge=1024,
        description="Most bytes of a version's tensors, in their file and as float32.",
    )
    max_prompts: int = Field(64, ge=1, description="Most prompts of a completion.")
    max_choices: int = Field(16, ge=1, description="Most answers to a prompt (`n`).")
    max_sequences: int = Field(128, ge=1, description="Most prompts times `n`.")
    max_logprobs: int = Field(20, ge=0, le=1000, description="Most log-probabilities a token.")
    max_stop_strings: int = Field(16, ge=0, description="Most stop strings.")
    max_messages: int = Field(1024, ge=1, description="Most messages of a chat.")
    max_inputs: int = Field(64, ge=1, description="Most inputs of a classification.")
    max_labels: int = Field(1000, ge=1, description="Most labels of a classification.")

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origin whose pages may call the API (repeatable; variable: comma-separated); `*` means all."
    )
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM), to serve HTTPS.")
    tls_key: Path | None = Field(None, description="Private key (PEM) of the certificate.")
    root_path: str = Field("", description="Path that a proxy puts before ours and strips, such as /softprompt.")

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

    @field_validator("base_names", "cors_origins", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        """An environment variable holds names separated by commas."""
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("admin_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_admin_key(value.get_secret_value())
        return value

    @field_validator("admin_key_file")
    @classmethod
    def _check_key_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            _read_key_file(value)
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.num_kv_blocks is not None and self.kv_cache_gib is not None:
            raise ValueError("num_kv_blocks and kv_cache_gib say the same thing twice: give one of them")
        if self.admin_key is not None and self.admin_key_file is not None:
            raise ValueError("admin_key and admin_key_file say the same thing twice: give one of them")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        if self.tuning_min_share > self.tuning_share:
            raise ValueError("tuning_min_share is above tuning_share")
        return self

    @property
    def may_be_open(self) -> bool:
        """Whether the server may run without any key."""
        return self.insecure or is_loopback(self.host)

    def read_admin_key(self) -> str | None:
        """The key with every scope, if there is one."""
        if self.admin_key_file is not None:
            return _read_key_file(self.admin_key_file)
        return None if self.admin_key is None else self.admin_key.get_secret_value()

    @property
    def tuning_memory_bytes(self) -> int | None:
        """Memory that a tuning job may take; None is what is left."""
        return None if self.tuning_memory_gib is None else int(self.tuning_memory_gib * 1024**3)

    @property
    def store_url(self) -> str:
        """The database to open: `database_url`, or SQLite in `data_dir`."""
        return self.database_url or sqlite_url(self.data_dir)


def sqlite_url(data_dir: Path) -> str:
    """The URL of the SQLite database in a data folder."""
    return f"sqlite:///{quote(str(data_dir.expanduser().absolute() / DATABASE_FILE))}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than `localhost` counts as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_key_file(file: Path) -> str:
    try:
        key = file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("cannot be read") from error
    _check_admin_key(key)
    return key


def _check_admin_key(key: str) -> None:
    if not key or not all("!" <= character <= "~" for character in key):
        raise ValueError("must be visible ASCII characters without spaces")
