"""Sizes and limits of the engine for encoders, and the check of a request against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.engine.checks import check_number, check_prompt
from server.engine.errors import ContextExceeded, RequestRefused
from server.engine.request import Encode, Kind, Request
from server.model.prefix import Prefix


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Sizes and limits.

    A step computes at most `max_num_seqs` requests and `max_batch_tokens` rows, or one request that has more.
    `max_open_requests` bounds the requests accepted and not yet answered. `max_context` counts positions: virtual
    tokens and prompt. `batch_share` is the share of the time of batch requests beside live ones.
    """

    max_num_seqs: int
    max_batch_tokens: int
    max_open_requests: int
    max_context: int
    vocab_size: int
    batch_share: float = 0.0

    @property
    def max_sequence_tokens(self) -> int:
        """See `Limits`."""
        return self.max_context

    def check(self, request: Request[Kind]) -> None:
        """Raise `RequestRefused` for a request that could never be served. One that passes never fails for its size."""
        if not isinstance(request.kind, Encode):
            raise RequestRefused(
                "this base model is an encoder, which writes no text: ask it for classes or embeddings, by a task that "
                "has them"
            )
        check_prompt(request, self.vocab_size)
        num_virtual = 0 if request.prefix is None else request.prefix.num_virtual_tokens
        num_text = len(request.prompt_token_ids)
        if num_virtual + num_text > self.max_context:
            raise ContextExceeded(
                f"the context holds {self.max_context} tokens (--max-context): {num_virtual} virtual tokens + "
                f"{num_text} prompt tokens = {num_virtual + num_text}"
            )

    def check_together(self, prefixes: Sequence[Prefix | None]) -> None:
        """Raise `RequestRefused` where the queue could never hold them all."""
        check_number(len(prefixes), self.max_open_requests)
