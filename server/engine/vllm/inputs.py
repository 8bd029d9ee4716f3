"""A sequence as vLLM takes it: token ids, salt and sampling parameters.

The salt is made by `softprompt_vllm.requests.use_inputs` alone: it has the digest of the soft prompt, by which vLLM
keeps the blocks of two soft prompts apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from server.engine.vllm.forms import FORM
from server.model.prefix import Prefix
from server.model.sampling.sampling_params import SamplingParams
from softprompt_vllm.requests import EngineInputs, use_inputs

MAX_LOGPROB_TOKEN_IDS = 128
"""Tokens whose log-probabilities one request of vLLM can name."""

_PLACEHOLDER = 0
_ENDLESS = {"ignore_eos": True, "detokenize": False}
"""End tokens are named as stop tokens, and texts are made by the server."""


def sequence_inputs(
    prompt_token_ids: Sequence[int],
    prefix: Prefix | None,
    salt: bytes,
    sampling: Mapping[str, Any],
    form: Mapping[str, Any] | None = None,
) -> EngineInputs:
    """The request of vLLM for one sequence. `sampling` are arguments of its `SamplingParams`; `form` describes that of
    the answer."""
    inputs = _inputs(prompt_token_ids, prefix, salt, sampling)
    if form is not None:
        inputs.sampling["extra_args"] = inputs.sampling.get("extra_args", {}) | {FORM: dict(form)}
    return inputs


def _inputs(
    prompt_token_ids: Sequence[int], prefix: Prefix | None, salt: bytes, sampling: Mapping[str, Any]
) -> EngineInputs:
    if prefix is None:
        prompt: dict[str, Any] = {"prompt_token_ids": list(prompt_token_ids)}
        if salt:
            prompt["cache_salt"] = f"base:{salt.hex()}"
        return EngineInputs(prompt, _ENDLESS | dict(sampling))
    # A repetition penalty counts the placeholders: one that is in the prompt changes nothing.
    is_counted = sampling.get("repetition_penalty", 1.0) != 1.0
    placeholder = prompt_token_ids[0] if is_counted else _PLACEHOLDER
    inputs = use_inputs(
        prefix.digest,
        prefix.num_virtual_tokens,
        prompt_token_ids,
        placeholder_id=placeholder,
        caller_salt=salt.hex(),
    )
    return EngineInputs(inputs.prompt, _ENDLESS | inputs.sampling | dict(sampling))


def sampling_inputs(params: SamplingParams, end_token_ids: frozenset[int], seed: int, choice: int) -> dict[str, Any]:
    """The arguments of vLLM's `SamplingParams` for one choice. `seed` is the one drawn where `params` has none."""
    given: dict[str, Any] = {
        "max_tokens": max(1, params.max_tokens),
        "min_tokens": min(params.min_tokens, max(1, params.max_tokens)),
        "temperature": 0.0 if params.is_greedy else params.temperature,
        "stop_token_ids": sorted(end_token_ids),
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "repetition_penalty": params.repetition_penalty,
        "logprobs": params.num_logprobs,
        "prompt_logprobs": params.prompt_logprobs,
    }
    if not params.is_greedy:
        given |= {
            "top_p": params.top_p or 1.0,
            "top_k": max(params.top_k, 0) if params.top_p else 1,
            "min_p": max(params.min_p, 0.0),
            "seed": choice_seed(seed, choice),
        }
    if params.logit_bias:
        bias: dict[int, float] = {}
        for token, value in params.logit_bias:
            bias[token] = bias.get(token, 0.0) + value
        given["logit_bias"] = bias
    return given


def choice_seed(seed: int, choice: int) -> int:
    """The seed of one choice: equal seeds give equal choices, and the choices of one request differ."""
    digest = hashlib.blake2b(f"{seed}:{choice}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def scoring_inputs(token_ids: Sequence[int]) -> dict[str, Any]:
    """The arguments of vLLM's `SamplingParams` that ask for the log-probabilities of these tokens in the next place."""
    return {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": list(token_ids)}
