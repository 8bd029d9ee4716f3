"""What an ensemble may be asked for: one short answer a prompt, at once."""

from __future__ import annotations

from server.api.errors import InvalidRequest
from server.api.inference.target import Target
from server.api.limits import ApiLimits
from server.api.wire.sampling import GenerationParameters

_NOT_VOTED_ON = ("stream", "echo", "logprobs", "top_logprobs")


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
