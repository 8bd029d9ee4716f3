"""Log-probabilities in the bodies of completions and chat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.answering.choice_text import TextToken
from server.api.wire.chat import ChatLogprobs, ChatTokenLogprob, TopLogprob
from server.api.wire.completions import CompletionLogprobs


def completion_logprobs(tokens: Sequence[TextToken], offset: int) -> CompletionLogprobs:
    """Four parallel lists. `offset` is the start of the choice's text, in characters."""
    return CompletionLogprobs(
        tokens=[_text(token.data) for token in tokens],
        token_logprobs=[None if token.logprob is None else token.logprob.logprob for token in tokens],
        top_logprobs=[_top_by_text(token) for token in tokens],
        text_offset=[offset + token.offset for token in tokens],
    )


def chat_logprobs(tokens: Sequence[TextToken]) -> ChatLogprobs:
    """One entry per token, with its bytes."""
    return ChatLogprobs(content=[_chat_token(token, token.logprob.logprob) for token in tokens if token.logprob])


def _top_by_text(token: TextToken) -> dict[str, float] | None:
    """The likeliest tokens by text, and the chosen token. Among tokens of equal text, the likeliest counts."""
    if token.logprob is None:
        return None
    top: dict[str, float] = {}
    for data, value in (*_top(token), (token.data, token.logprob.logprob)):
        top.setdefault(_text(data), value)
    return top


def _chat_token(token: TextToken, logprob: float) -> ChatTokenLogprob:
    return ChatTokenLogprob(
        token=_text(token.data),
        logprob=logprob,
        bytes=list(token.data),
        top_logprobs=[TopLogprob(token=_text(data), logprob=value, bytes=list(data)) for data, value in _top(token)],
    )


def _top(token: TextToken) -> Iterator[tuple[bytes, float]]:
    """The bytes and log-probabilities of the likeliest tokens."""
    top = () if token.logprob is None else token.logprob.top
    return zip(token.top, (value for _, value in top), strict=True)


def _text(data: bytes) -> str:
    """Bytes as text. An incomplete character becomes U+FFFD."""
    return data.decode("utf-8", errors="replace")
