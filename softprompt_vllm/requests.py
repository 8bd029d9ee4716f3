"""What a front end gives to vLLM's engine: requests behind a soft prompt, captures, the connector's configuration."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softprompt_vllm.claims import Claim, Purpose, announcement_of, check_digest, salt_of
from softprompt_vllm.errors import InvalidInputs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class EngineInputs:
    """One request. `prompt` is the first argument of `generate`; `sampling` are arguments of `SamplingParams`."""

    prompt: dict[str, Any]
    sampling: dict[str, Any]


def use_inputs(
    digest: str, num_virtual_tokens: int, token_ids: Sequence[int], *, placeholder_id: int, caller_salt: str = ""
) -> EngineInputs:
    """Return a request whose text follows a soft prompt. Add its own sampling parameters to `sampling`.

    `placeholder_id` stands at the virtual positions. Its embedding is never read, but penalties count it: take an id
    that is never generated. `caller_salt` parts the cached text of callers. Raises InvalidInputs.
    """
    if num_virtual_tokens < 1:
        raise InvalidInputs("a soft prompt has at least one virtual token")
    if not token_ids:
        raise InvalidInputs("a request has at least one token of text")
    claim = Claim(Purpose.USE, digest, num_virtual_tokens)
    prompt = {
        "prompt_token_ids": [placeholder_id] * num_virtual_tokens + list(token_ids),
        "cache_salt": salt_of(claim.purpose, digest, caller_salt),
    }
    return EngineInputs(prompt, _extra(claim))


def capture_inputs(capture_key: str, digest: str, rows: torch.Tensor) -> EngineInputs:
    """Return a request in which vLLM computes and keeps the keys and values of a soft prompt.

    `rows`, `[num_virtual_tokens, hidden_size]`, have the dtype of the served model. The one generated token means
    nothing. A request that uses the digest waits for its capture, so both may be sent together, the capture first.
    Raises InvalidInputs.
    """
    if rows.dim() != 2 or rows.shape[0] < 1:
        raise InvalidInputs("the rows of a soft prompt are a matrix [num_virtual_tokens, hidden_size]")
    check_digest(digest)
    num = int(rows.shape[0])
    claim = Claim(Purpose.CAPTURE, digest, num, announcement_of(capture_key, digest, num))
    prompt = {"prompt_embeds": rows, "cache_salt": salt_of(claim.purpose, digest)}
    # A block from the prefix cache would be missing in the capture.
    sampling = {"max_tokens": 1, "temperature": 0.0, "detokenize": False, "skip_reading_prefix_cache": True}
    return EngineInputs(prompt, sampling | _extra(claim))


def new_capture_key() -> str:
    """Return a secret for `transfer_config` and `capture_inputs`. It never leaves the front end's machine."""
    return secrets.token_hex(32)


def transfer_config(
    folder: Path | None = None,
    *,
    capture_key: str | None = None,
    max_host_bytes: int | None = None,
    max_device_bytes: int | None = None,
    front_end_pid: int | None = None,
) -> dict[str, Any]:
    """Return vLLM's `kv_transfer_config` for this connector. See `settings.py` for the fields."""
    given = {
        "folder": None if folder is None else str(folder),
        "capture_key": capture_key,
        "max_host_bytes": max_host_bytes,
        "max_device_bytes": max_device_bytes,
        "front_end_pid": front_end_pid,
    }
    return {
        "kv_connector": "SoftPromptConnector",
        "kv_connector_module_path": "softprompt_vllm.connector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {name: value for name, value in given.items() if value is not None},
    }


def _extra(claim: Claim) -> dict[str, Any]:
    return {"extra_args": {"kv_transfer_params": claim.parameters}}
