"""Generation parameters of a request and its task's version become the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.api.errors import InvalidRequest
from server.api.inference.target import Target
from server.api.limits import ApiLimits
from server.api.wire.sampling import GenerationParameters
from server.engine.client import EngineClient
from server.engine.request import SamplingParams

_PASSED_ON = (
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "ignore_eos",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)

NO_LIMIT = -1
"""As `max_tokens`: as many tokens as the context has room for."""

_NOT_VOTED_ON = ("stream", "echo", "logprobs", "top_logprobs")


def sampling_params(
    body: GenerationParameters,
    defaults: Mapping[str, Any],
    limits: ApiLimits,
    *,
    max_tokens: int,
    num_logprobs: int | None = None,
    prompt_logprobs: int | None = None,
) -> SamplingParams:
    """The engine's parameters: the request's value, else the version's default, else the engine's own.

    Raises `InvalidRequest`.
    """
    given = {name: getattr(body, name) for name in _PASSED_ON}
    chosen = {name: defaults.get(name) if value is None else value for name, value in given.items()}
    if body.min_tokens is None and chosen["min_tokens"] is not None:
        chosen["min_tokens"] = min(chosen["min_tokens"], max_tokens)
    stop_token_ids = body.stop_token_ids if body.stop_token_ids is not None else defaults.get("stop_token_ids", [])
    _check_length(stop_token_ids, limits.max_stop_token_ids, "stop_token_ids")
    sampling = SamplingParams(
        max_tokens=max_tokens,
        stop_token_ids=frozenset(stop_token_ids),
        num_logprobs=num_logprobs,
        prompt_logprobs=prompt_logprobs,
        logit_bias=_logit_bias(body.logit_bias or {}, limits),
        **{name: value for name, value in chosen.items() if value is not None},
    )
    if sampling.min_tokens > max_tokens:
        raise InvalidRequest(f"min_tokens is {sampling.min_tokens}, above max_tokens {max_tokens}", param="min_tokens")
    return sampling


def stop_strings(body: GenerationParameters, of_version: tuple[str, ...], limits: ApiLimits) -> tuple[str, ...]:
    """The caller's stop strings and those of the version. Raises `InvalidRequest`."""
    given = [body.stop] if isinstance(body.stop, str) else body.stop or []
    _check_length(given, limits.max_stop_strings, "stop")
    if any(not 0 < len(stop) <= limits.max_stop_length for stop in given):
        raise InvalidRequest(f"a stop string has 1 to {limits.max_stop_length} characters", param="stop")
    return tuple(dict.fromkeys([*given, *of_version]))


def num_choices(body: GenerationParameters, limits: ApiLimits, num_runs: int = 1) -> int:
    """How many answers each prompt gets; `num_runs` is prompts times soft prompts. Raises `InvalidRequest`."""
    n = 1 if body.n is None else body.n
    if n > limits.max_choices:
        raise InvalidRequest(f"n is at most {limits.max_choices}", param="n")
    if n * num_runs > limits.max_sequences:
        message = f"prompts times n, and times the members of an ensemble, are at most {limits.max_sequences}"
        raise InvalidRequest(message, param="n")
    return n


def check_num_logprobs(num_logprobs: int | None, limits: ApiLimits, param: str) -> int | None:
    """The number itself, if it may be asked for. Raises `InvalidRequest`."""
    if num_logprobs is not None and num_logprobs > limits.max_logprobs:
        raise InvalidRequest(f"{param} is at most {limits.max_logprobs}", param=param)
    return num_logprobs


def check_stream_options(body: GenerationParameters) -> None:
    """Raise `InvalidRequest` where options of a stream come without one."""
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options needs stream to be true", param="stream_options")


def check_votable(body: GenerationParameters, target: Target) -> None:
    """Raise `InvalidRequest` where an ensemble is asked for what only one version could say."""
    if not target.is_ensemble:
        return
    if body.n is not None and body.n > 1:
        raise InvalidRequest("an ensemble gives one answer a prompt, so n is 1", param="n")
    for parameter in _NOT_VOTED_ON:
        asked = getattr(body, parameter, None)
        if asked is not None and asked is not False:
            raise InvalidRequest(f"an ensemble votes on whole answers, so it has no {parameter}", param=parameter)


def room(engine: EngineClient, target: Target, num_prompt_tokens: int) -> int:
    """Number of tokens that the context has room for behind a prompt; 1 where it has none, which the engine refuses."""
    return max(engine.max_context - target.num_virtual_tokens - num_prompt_tokens, 1)


def votable_tokens(max_tokens: int, target: Target, limits: ApiLimits, *, is_asked: bool) -> int:
    """The most tokens of an answer: of an ensemble's, which are short, no more than the limit.

    Raises `InvalidRequest` where the request itself asks for more (`is_asked`).
    """
    if not target.is_ensemble or max_tokens <= limits.max_voted_tokens:
        return max_tokens
    if is_asked:
        message = f"an ensemble votes on short answers, so max_tokens is at most {limits.max_voted_tokens}"
        raise InvalidRequest(message, param="max_tokens")
    return limits.max_voted_tokens


def _logit_bias(biases: Mapping[str, float], limits: ApiLimits) -> tuple[tuple[int, float], ...]:
    _check_length(biases, limits.max_logit_biases, "logit_bias")
    if not all(token_id.isascii() and token_id.isdigit() and len(token_id) <= 9 for token_id in biases):
        raise InvalidRequest("the keys of logit_bias are token ids in decimal digits", param="logit_bias")
    return tuple((int(token_id), bias) for token_id, bias in biases.items())


def _check_length(items: Mapping[str, float] | list[str] | list[int], max_length: int, param: str) -> None:
    if len(items) > max_length:
        raise InvalidRequest(f"{param} has at most {max_length} entries", param=param)
