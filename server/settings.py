"""Settings of `softprompt serve`: an option wins over its environment variable, which wins over the default.

Each field is one option and one variable: `max_num_seqs` is `--max-num-seqs` and `SOFTPROMPT_MAX_NUM_SEQS`. The help
and docs/reference/settings.md use the descriptions here and in `server.engine_settings`.
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
from server.admin_key import check_admin_key, read_key_file
from server.engine_settings import (
    CaptureOnPromote,
    TuningDevice,
    TuningPython,
    VllmArgs,
    VllmPrefixGib,
    Weights,
    check_settings,
)

DATABASE_FILE = "softprompt.db"


def default_data_dir() -> Path:
    """Return this product's folder in the platform's usual place for a user's data. It is not created here."""
    return Path(platformdirs.user_data_dir("softprompt", appauthor=False))


class ServeSettings(BaseSettings):
    """The settings of `softprompt serve`. Unknown names and values out of range are refused."""

    model_config = SettingsConfigDict(
        env_prefix="SOFTPROMPT_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # an error must not print the key
        validate_default=True,
    )

    host: str = Field("127.0.0.1", description="Address to listen on. An address that is not loopback needs a key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 selects a free port.")
    admin_key: SecretStr | None = Field(
        None,
        description="Key with every scope, in addition to the keys of the database. Prefer the variable or a file: "
        "process lists show options.",
    )
    admin_key_file: Path | None = Field(None, description="File that contains the admin key.")
    insecure: bool = Field(False, description="Allow an address that is not loopback although there is no key.")

    engine: Literal["own", "vllm"] = Field(
        "own", description="Engine: own, or vllm in a virtual environment that has vLLM (`make vllm`)."
    )
    vllm_args: VllmArgs = ""
    vllm_prefix_gib: VllmPrefixGib = 4.0
    capture_on_promote: CaptureOnPromote = False

    base_model: str | None = Field(
        None,
        description="Base model: a hub id, a local folder or a local GGUF file (extra gguf); by default the bundled "
        "demo model.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a hub id.")
    base_names: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Another name of the base model that checkpoints may use (repeatable; variable: comma-separated).",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Data type of the weights and the KV cache: auto, float32, float16 or bfloat16."
    )
    weights: Weights = "auto"
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Device: auto (CUDA if available), cpu, cuda or cuda:N.",
    )
    attention: Literal["auto", "exact"] = Field(
        "auto",
        description="auto: the device's fastest kernels, and CUDA graphs for decode steps on a GPU. exact: neither.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="Number of CPU threads for tensors; by default PyTorch's choice, and 1 for the demo model.",
    )

    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of the database and the caches.")
    database_url: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="URL of the database of soft prompts; by default SQLite in the data folder.",
    )

    tasks_dir: Path | None = Field(
        None,
        description="Folder of PEFT checkpoints to publish and promote, at start and on change. "
        "Its tasks are read-only over HTTP.",
    )

    max_context: int | None = Field(
        None,
        ge=2,
        description="Maximum number of positions of a sequence; by default the model's. Of an encoder-decoder, that of "
        "its input and that of its output; T5 names none, and gets 2,048.",
    )
    block_size: int = Field(16, ge=1, le=1024, description="Number of tokens in a block of the KV cache.")
    num_kv_blocks: int | None = Field(
        None, ge=2, description="Number of blocks of the KV cache; by default what memory allows."
    )
    kv_cache_gib: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Size of the KV cache in GiB, instead of a number of blocks."
    )
    max_batch_tokens: int | None = Field(
        None, ge=1, description="Maximum number of tokens in a step; the default depends on the device."
    )
    max_num_seqs: int = Field(64, ge=1, description="Maximum number of sequences that run at once.")
    max_prefix_share: float = Field(
        0.5, gt=0, lt=1, description="Maximum share of the KV cache for soft prompts, in use and idle together."
    )
    max_waiting: int = Field(1024, ge=1, description="Maximum number of waiting requests; further ones get status 429.")

    tuning_python: TuningPython = None
    tuning_device: TuningDevice = "cpu"
    tuning_share: float = Field(
        0.15,
        gt=0,
        lt=1,
        description="Share of the time for a tuning job while requests run. An idle server gives it all its time.",
    )
    tuning_min_share: float = Field(
        0.05, gt=0, lt=1, description="Share of the time for a tuning job while requests wait."
    )
    tuning_micro_batch_tokens: int = Field(
        512,
        ge=16,
        description="Maximum number of positions that a tuning job computes at once: its virtual tokens once, and the "
        "tokens of each example.",
    )
    tuning_memory_gib: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Maximum memory of a tuning job, in GiB; by default what is left.",
    )
    tuning_checkpoint_s: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="Seconds between two checkpoints of a tuning job."
    )
    tuning_takeover_s: float = Field(
        10.0,
        gt=1,
        allow_inf_nan=False,
        description="Seconds without a heartbeat after which another server takes over a tuning job.",
    )
    max_tuning_jobs: int = Field(
        16, ge=1, description="Maximum number of tuning jobs that have not ended; further ones get status 429."
    )
    batch_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the time for batches while other requests run; 0: none. An idle server gives them all "
        "its time.",
    )
    batch_lines: int = Field(
        64,
        ge=1,
        le=1024,
        description="Maximum number of lines of batches that this server works on at once; the other "
        "lines of a batch wait in the store.",
    )
    max_batch_lines: int = Field(50_000, ge=1, le=1_000_000, description="Maximum number of lines of a batch.")
    max_batches: int = Field(
        64, ge=1, description="Maximum number of batches of a key that have not ended; further ones get status 429."
    )
    max_file_mib: int = Field(64, ge=1, le=1024, description="Maximum size of an uploaded file, in MiB.")

    max_wait_s: float = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="Maximum estimated wait in the queue, in seconds; above it, requests get status 503.",
    )

    max_requests_per_minute: int | None = Field(
        None, ge=1, description="Maximum requests per minute of a key; by default unlimited."
    )
    max_tokens_per_minute: int | None = Field(
        None, ge=1, description="Maximum tokens per minute of a key; by default unlimited."
    )
    max_concurrent: int | None = Field(
        None, ge=1, description="Maximum concurrent requests of a key; by default unlimited."
    )
    redis_url: str | None = Field(
        None,
        pattern=r"^rediss?://",
        repr=False,
        description="URL of the Redis in which servers share the counts of these three limits.",
    )

    max_header_bytes: int = Field(32 * 1024, ge=1024, description="Maximum size of a request's headers, in bytes.")
    header_timeout_s: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="Maximum seconds until a request's headers are complete."
    )
    body_timeout_s: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="Maximum seconds without progress of a request's body."
    )
    write_timeout_s: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="Maximum seconds that a client may leave an answer unread."
    )
    max_body_bytes: int = Field(
        4 * 1024**2, ge=1024, description="Maximum size of a body that is not an upload, in bytes."
    )
    max_tensor_bytes: int = Field(
        DEFAULT_MAX_TENSOR_BYTES,
        ge=1024,
        description="Maximum size of a version's tensors, in bytes: of their file, and as float32.",
    )
    max_prompts: int = Field(64, ge=1, description="Maximum number of prompts of a completion.")
    max_choices: int = Field(16, ge=1, description="Maximum number of answers to a prompt (`n`).")
    max_sequences: int = Field(128, ge=1, description="Maximum number of prompts times `n`.")
    max_logprobs: int = Field(20, ge=0, le=1000, description="Maximum number of log-probabilities per token.")
    max_stop_strings: int = Field(16, ge=0, description="Maximum number of stop strings.")
    max_messages: int = Field(1024, ge=1, description="Maximum number of messages of a chat.")
    max_chat_tokens: int = Field(
        1024,
        ge=0,
        description="Maximum number of generated tokens of a chat that sets none; 0 is the room left in the context.",
    )
    max_inputs: int = Field(64, ge=1, description="Maximum number of inputs of a classification.")
    max_labels: int = Field(1000, ge=1, description="Maximum number of labels of a classification.")

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origin whose pages may call the API, `*` for all (repeatable; variable: comma-separated)."
    )
    no_page: bool = Field(False, description="Serve no page at `/`; the API is the same.")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM), to serve HTTPS.")
    tls_key: Path | None = Field(None, description="Private key (PEM) of the certificate.")
    root_path: str = Field("", description="Path prefix that a proxy removes, such as /softprompt.")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level to log: debug, info, warning or error."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="Format of the log: text, json, or auto (text on a terminal, else JSON)."
    )
    access_log: bool = Field(False, description="Log a line per HTTP request. Level debug does so too.")
    log_prompts: bool = Field(
        False, description="Log every prompt as the model sees it; by default no prompt is logged."
    )
    max_task_metrics: int = Field(
        200, ge=1, description="Maximum number of tasks with series of their own at /metrics; all others share one."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="URL to send traces to (OTLP over HTTP, extra otel); by default none are sent.",
    )
    engine_timeout_s: float = Field(
        300.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds without progress of the engine after which the server ends itself.",
    )
    shutdown_grace_s: float = Field(
        30.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds in which accepted requests may finish when the server stops.",
    )

    @field_validator("base_names", "cors_origins", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        """Split the value of an environment variable at its commas."""
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("admin_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_admin_key(value.get_secret_value())
        return value

    @field_validator("admin_key_file")
    @classmethod
    def _check_key_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_key_file(value)
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.num_kv_blocks is not None and self.kv_cache_gib is not None:
            raise ValueError("num_kv_blocks and kv_cache_gib set the same thing; give only one of them")
        if self.admin_key is not None and self.admin_key_file is not None:
            raise ValueError("admin_key and admin_key_file set the same thing; give only one of them")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; give both of them")
        if self.tuning_min_share > self.tuning_share:
            raise ValueError("tuning_min_share is above tuning_share; lower it or raise tuning_share")
        check_settings(self.engine, self.model_fields_set)
        return self

    @property
    def may_be_open(self) -> bool:
        """Whether the server may run without a key."""
        return self.insecure or is_loopback(self.host)

    def read_admin_key(self) -> str | None:
        """Return the key with every scope, or None."""
        if self.admin_key_file is not None:
            return read_key_file(self.admin_key_file)
        return None if self.admin_key is None else self.admin_key.get_secret_value()

    @property
    def tuning_memory_bytes(self) -> int | None:
        """Maximum memory of a tuning job; None for what is left."""
        return None if self.tuning_memory_gib is None else int(self.tuning_memory_gib * 1024**3)

    @property
    def store_url(self) -> str:
        """The database to open: `database_url`, or SQLite in `data_dir`."""
        return self.database_url or sqlite_url(self.data_dir)


def sqlite_url(data_dir: Path) -> str:
    """Return the URL of the SQLite database in a data folder."""
    return f"sqlite:///{quote(str(data_dir.expanduser().absolute() / DATABASE_FILE))}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`. A name other than `localhost` counts as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
