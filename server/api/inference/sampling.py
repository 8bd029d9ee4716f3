"""Conversion of generation parameters, of a request and its version, into the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.api.errors import InvalidRequest
from server.api.inference.served_model import ServedModel
from server.api.limits import ApiLimits
from server.api.wire.sampling import GenerationParameters
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

_CHOOSES_TOKENS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)

_NOT_VOTED_ON = ("stream", "echo", "logprobs", "top_logprobs")


def chat_defaults(of_version: Mapping[str, Any], of_base: Mapping[str, Any]) -> Mapping[str, Any]:
    """The defaults of a chat: the version's, and the base model's own if the version has none for choosing tokens.

    A version was judged with its own defaults, so nothing of the base model is mixed into them.
    """
    return of_version if any(name in of_version for name in _CHOOSES_TOKENS) else {**of_base, **of_version}


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
        message = f"min_tokens is {sampling.min_tokens}, but max_tokens is {max_tokens}; lower min_tokens"
        raise InvalidRequest(message, param="min_tokens")
    return sampling


def stop_strings(body: GenerationParameters, of_version: tuple[str, ...], limits: ApiLimits) -> tuple[str, ...]:
    """The caller's stop strings and those of the version. Raises `InvalidRequest`."""
    given = body.stop if isinstance(body.stop, list) else [body.stop] if body.stop else []
    _check_length(given, limits.max_stop_strings, "stop", "--max-stop-strings")
    if any(not 0 < len(stop) <= limits.max_stop_length for stop in given):
        raise InvalidRequest(f"each stop string must have 1 to {limits.max_stop_length} characters", param="stop")
    return tuple(dict.fromkeys([*given, *of_version]))


def num_choices(body: GenerationParameters, limits: ApiLimits, num_runs: int = 1) -> int:
    """Number of answers per prompt. `num_runs` is prompts times soft prompts. Raises `InvalidRequest`."""
    n = 1 if body.n is None else body.n
    if n > limits.max_choices:
        raise InvalidRequest(f"n is {n}; the maximum is {limits.max_choices} (--max-choices)", param="n")
    if n * num_runs > limits.max_sequences:
        message = (
            f"the request needs {n * num_runs} sequences (prompts times n times ensemble members); the maximum is "
            f"{limits.max_sequences} (--max-sequences): send fewer prompts or a lower n"
        )
        raise InvalidRequest(message, param="n")
    return n


def check_num_logprobs(num_logprobs: int | None, limits: ApiLimits, param: str) -> int | None:
    """The number itself, if it is allowed. Raises `InvalidRequest`."""
    if num_logprobs is not None and num_logprobs > limits.max_logprobs:
        message = f"{param} is {num_logprobs}; the maximum is {limits.max_logprobs} (--max-logprobs)"
        raise InvalidRequest(message, param=param)
    return num_logprobs


def check_votable(body: GenerationParameters, served: ServedModel) -> None:
    """Raise `InvalidRequest` for a parameter that an ensemble does not support."""
    if not served.is_ensemble:
        return
    if body.n is not None and body.n > 1:
        raise InvalidRequest(f"n is {body.n}, but an ensemble gives one answer per prompt: set n to 1", param="n")
    for parameter in _NOT_VOTED_ON:
        asked = getattr(body, parameter, None)
        if asked is not None and asked is not False:
            message = f"an ensemble does not support {parameter}, because it votes on whole answers: leave it out"
            raise InvalidRequest(message, param=parameter)


def votable_tokens(max_tokens: int, served: ServedModel, limits: ApiLimits, *, is_asked: bool) -> int:
    """Maximum number of tokens of an answer. For an ensemble, at most the limit of voted answers.

    Raises `InvalidRequest` if the request itself (`is_asked`) exceeds that limit.
    """
    if not served.is_ensemble or max_tokens <= limits.max_voted_tokens:
        return max_tokens
    if is_asked:
        message = f"max_tokens is {max_tokens}; the maximum for an ensemble is {limits.max_voted_tokens}"
        raise InvalidRequest(message, param="max_tokens")
    return limits.max_voted_tokens


def _logit_bias(biases: Mapping[str, float], limits: ApiLimits) -> tuple[tuple[int, float], ...]:
    _check_length(biases, limits.max_logit_biases, "logit_bias")
    if not all(token_id.isascii() and token_id.isdigit() and len(token_id) <= 9 for token_id in biases):
        raise InvalidRequest("each key of logit_bias must be a token id in decimal digits", param="logit_bias")
    return tuple((int(token_id), bias) for token_id, bias in biases.items())


def _check_length(
    items: Mapping[str, float] | list[str] | list[int], max_length: int, param: str, option: str = ""
) -> None:
    """`option` is the server's option that sets the limit, if one does."""
    if len(items) > max_length:
        raised_by = f" ({option})" if option else ""
        message = f"{param} has {len(items)} entries; the maximum is {max_length}{raised_by}"
        raise InvalidRequest(message, param=param)
