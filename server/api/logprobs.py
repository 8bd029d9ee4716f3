"""Log-probabilities as the two generation routes write them."""

from __future__ import annotations

from collections.abc import Sequence

from server.answering.choice_text import TextToken
from server.api.wire.chat import ChatLogprobs, ChatTokenLogprob, TopLogprob
from server.api.wire.completions import CompletionLogprobs
from server.engine.request import TokenLogprob
from server.tokenizer.tokenizer import Tokenizer


def completion_logprobs(tokenizer: Tokenizer, tokens: Sequence[TextToken], offset: int) -> CompletionLogprobs:
    """Four parallel lists. `offset` is where the text of these tokens' choice begins, in characters."""
    return CompletionLogprobs(
        tokens=[tokenizer.token_text(token.token_id) for token in tokens],
        token_logprobs=[None if token.logprob is None else token.logprob.logprob for token in tokens],
        top_logprobs=[None if token.logprob is None else _top_by_text(tokenizer, token.logprob) for token in tokens],
        text_offset=[offset + token.offset for token in tokens],
    )


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[TextToken]) -> ChatLogprobs:
    """One entry a token, with its bytes."""
    return ChatLogprobs(
        content=[_chat_token(tokenizer, token.logprob) for token in tokens if token.logprob is not None]
    )


def _top_by_text(tokenizer: Tokenizer, logprob: TokenLogprob) -> dict[str, float]:
    """The likeliest tokens by text, the chosen one always among them. Of tokens with one text the likeliest counts."""
    top: dict[str, float] = {}
    for token_id, value in (*logprob.top, (logprob.token_id, logprob.logprob)):
        top.setdefault(tokenizer.token_text(token_id), value)
    return top


def _chat_token(tokenizer: Tokenizer, logprob: TokenLogprob) -> ChatTokenLogprob:
    return ChatTokenLogprob(
        token=tokenizer.token_text(logprob.token_id),
        logprob=logprob.logprob,
        bytes=list(tokenizer.token_bytes(logprob.token_id)),
        top_logprobs=[
            TopLogprob(token=tokenizer.token_text(token_id), logprob=value, bytes=list(tokenizer.token_bytes(token_id)))
            for token_id, value in logprob.top
        ],
    )
