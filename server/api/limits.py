"""Limits of one request: every length and every number that a client chooses has its limit here."""

from __future__ import annotations

from dataclasses import dataclass, field

from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Limits of the HTTP interface. Sizes are in bytes and are enforced while the body streams in.

    `body_timeout_s` is the maximum time without a new piece of a body. `max_sequences` bounds prompts times `n` of one
    completion, `max_label_scores` inputs times labels of one classification, both times the members of an ensemble;
    `max_voted_tokens` the answers that an ensemble votes on, `max_chat_tokens` the answer to a chat that sets no limit
    (0: the room left), `max_unfinished_jobs` the tuning jobs that have not ended, `max_batches` the batches of a key
    that have not ended.
    The HTTP server limits header sizes and the number of connections.
    """

    max_body_bytes: int = 4 * MIB
    body_timeout_s: float = 10.0
    max_config_bytes: int = 1 * MIB
    max_tensor_bytes: int = DEFAULT_MAX_TENSOR_BYTES
    max_manifest_bytes: int = 256 * 1024
    max_prompts: int = 64
    max_choices: int = 16
    max_sequences: int = 128
    max_logprobs: int = 20
    max_stop_strings: int = 16
    max_stop_length: int = 256
    max_stop_token_ids: int = 64
    max_logit_biases: int = 1_024
    max_messages: int = 1_024
    max_chat_tokens: int = 1_024
    max_inputs: int = 64
    max_voted_tokens: int = 64
    max_labels: int = 1_000
    max_label_length: int = 256
    max_label_scores: int = 4_096
    max_page_size: int = 100
    max_file_bytes: int = 64 * MIB
    max_unfinished_jobs: int = 16
    max_batches: int = 64
    max_batch_lines: int = 50_000
    max_listed_models: int = 10_000

    @property
    def max_upload_bytes(self) -> int:
        """Maximum size of a whole upload: its files, its manifest, and the framing of multipart."""
        return self.max_config_bytes + self.max_tensor_bytes + self.max_manifest_bytes + 64 * 1024


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Settings of the HTTP interface.

    Pages of `cors_origins` may use it from a browser; "*" means all. `is_local`: without keys, only pages of this
    machine may use it.
    """

    limits: ApiLimits = field(default_factory=ApiLimits)
    cors_origins: tuple[str, ...] = ()
    is_local: bool = False
