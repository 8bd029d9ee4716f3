"""Sizes and limits of the engine, and the check of a request against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.engine.checks import check_number, check_prompt
from server.engine.errors import ContextExceeded, PrefixTooLarge, RequestRefused
from server.engine.request import Generate, Kind, Request, Score
from server.model.encoder_decoder.decoding import Decoding
from server.model.prefix import Prefix, PrefixKind

MAX_SCORED_ROWS = 256
"""Rows that score given tokens per step: a long prompt has many, and each row is as long as the vocabulary."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Sizes and limits.

    `num_blocks` counts the padding block 0. `max_num_seqs` bounds the sequences that run at once, `max_batch_tokens`
    the tokens of a step (at just `max_num_seqs`, prompts wait while a full batch decodes), `max_open_requests` the
    requests accepted and not yet answered, `max_prefix_blocks` the blocks of all resident prefixes. `max_context`
    counts positions: virtual tokens, prompt and output. A task may be served `fair_quantum` tokens more than one that
    waits for room; then it must wait too. `max_scored_rows` bounds the rows of logits of a step that score given
    tokens, beside one row per sequence. A base with an encoder has `decoding` and `max_encoder_positions`, and its
    `max_context` is the decoder's. `batch_share` is the share of the time of batch requests beside live ones.
    """

    num_blocks: int
    block_size: int
    max_prefix_blocks: int
    max_num_seqs: int
    max_batch_tokens: int
    max_open_requests: int
    max_context: int
    vocab_size: int
    eos_token_ids: frozenset[int]
    fair_quantum: int = 1024
    max_scored_rows: int = MAX_SCORED_ROWS
    decoding: Decoding | None = None
    max_encoder_positions: int = 0
    batch_share: float = 0.0

    @property
    def max_sequence_tokens(self) -> int:
        """Positions that one sequence can always have: the context, or fewer where the KV cache is smaller.

        Two blocks are no sequence's own: the padding, and the second copy of a part-filled virtual block.
        """
        return min(self.max_context, (self.num_blocks - 2) * self.block_size)

    def check(self, request: Request[Kind]) -> None:
        """See `check_request`."""
        check_request(request, self)

    def check_together(self, prefixes: Sequence[Prefix | None]) -> None:
        """See the function `check_together`."""
        check_together(prefixes, self)

    def __post_init__(self) -> None:
        if self.max_batch_tokens < self.max_num_seqs:
            raise ValueError("max_batch_tokens must be at least max_num_seqs: each running sequence decodes one token")
        if not 0 < self.max_prefix_blocks < self.num_blocks - 1:
            raise ValueError("max_prefix_blocks must leave at least one block for text")


def check_request(request: Request[Kind], options: EngineOptions) -> None:
    """Raise `RequestRefused` for a request that could never be served. One that passes never fails for memory."""
    check_prompt(request, options.vocab_size)
    prompt = request.prompt_token_ids
    num_virtual = 0 if request.prefix is None else request.prefix.num_virtual_tokens
    if request.prefix is not None and _is_resident(request.prefix, options):
        _check_prefix(request.prefix, options)
    num_new = request.kind.max_new_tokens
    if options.decoding is not None:
        _check_encoder_decoder(request, options, options.decoding)
        return
    total = num_virtual + len(prompt) + num_new
    numbers = f"{num_virtual} virtual tokens + {len(prompt)} prompt tokens + {num_new} new tokens = {total}"
    if total > options.max_context:
        raise ContextExceeded(f"the context holds {options.max_context} tokens (--max-context): {numbers}")
    # The part-filled last virtual block exists twice: in the prefix and as the sequence's own copy.
    num_blocks = -(-total // options.block_size) + (num_virtual % options.block_size > 0)
    if num_blocks > options.num_blocks - 1:
        held = (options.num_blocks - 1) * options.block_size
        raise ContextExceeded(f"this server's KV cache holds {held} tokens (--num-kv-blocks): {numbers}")


def _check_encoder_decoder(request: Request[Kind], options: EngineOptions, decoding: Decoding) -> None:
    """The bounds of the encoder's input and of the decoder's tokens, and the blocks of both."""
    kind, prefix = request.kind, request.prefix
    if isinstance(kind, Generate) and kind.sampling.prompt_logprobs is not None:
        raise RequestRefused("the base model reads the prompt with an encoder, which predicts no tokens of it")
    num_virtual = 0 if prefix is None else prefix.num_virtual_tokens
    is_encoded = prefix is not None and prefix.kind is PrefixKind.EMBEDDINGS
    num_before, num_virtual = (num_virtual, 0) if is_encoded else (0, num_virtual)
    num_prompt, num_given = len(request.prompt_token_ids), len(decoding.given) if isinstance(kind, Score) else 1
    num_encoder, num_decoder = num_before + num_prompt, num_virtual + num_given + kind.max_new_tokens
    read = f"{num_before} virtual tokens + {num_prompt} prompt tokens = {num_encoder}"
    if num_encoder > options.max_encoder_positions:
        held = options.max_encoder_positions
        raise ContextExceeded(f"the encoder of the base model reads {held} tokens (--max-context): {read}")
    written = f"{num_virtual} virtual + {num_given} first + {kind.max_new_tokens} new tokens = {num_decoder}"
    if num_decoder > options.max_context:
        raise ContextExceeded(
            f"the decoder of the base model holds {options.max_context} tokens (--max-context): {written}"
        )
    size = options.block_size
    num_blocks = -(-num_encoder // size) - (-num_decoder // size) + (num_virtual % size > 0)
    if num_blocks > options.num_blocks - 1:
        held = (options.num_blocks - 1) * size
        raise ContextExceeded(
            f"this server's KV cache holds {held} tokens (--num-kv-blocks): the encoder reads {read}, the decoder "
            f"holds {written}"
        )


def check_together(prefixes: Sequence[Prefix | None], options: EngineOptions) -> None:
    """Check the requests of one answer together, by their prefixes: one per request.

    Raises `RequestRefused` where the queue could never hold them all, and `PrefixTooLarge` where the prefixes could
    never be resident at once.
    """
    check_number(len(prefixes), options.max_open_requests)
    resident = (prefix for prefix in prefixes if prefix is not None and _is_resident(prefix, options))
    distinct = {prefix.digest: prefix for prefix in resident}.values()
    if sum(_num_blocks(prefix, options) for prefix in distinct) > options.max_prefix_blocks:
        num_virtual = sum(prefix.num_virtual_tokens for prefix in distinct)
        raise PrefixTooLarge(
            f"the soft prompts have {num_virtual} virtual tokens together; this server keeps room for {_room(options)}"
        )


def _check_prefix(prefix: Prefix, options: EngineOptions) -> None:
    if _num_blocks(prefix, options) > options.max_prefix_blocks:
        raise PrefixTooLarge(
            f"the soft prompt has {prefix.num_virtual_tokens} virtual tokens; "
            f"this server keeps room for {_room(options)}"
        )


def _is_resident(prefix: Prefix, options: EngineOptions) -> bool:
    """Whether a prefix has blocks of its own: embeddings before an encoder's input have none."""
    return options.decoding is None or prefix.kind is PrefixKind.KEY_VALUES


def _num_blocks(prefix: Prefix, options: EngineOptions) -> int:
    return -(-prefix.num_virtual_tokens // options.block_size)


def _room(options: EngineOptions) -> str:
    """Virtual tokens that the prefix budget holds, of prefixes that fill their blocks, and what decides it."""
    num_virtual = options.max_prefix_blocks * options.block_size
    return f"{num_virtual} (--max-prefix-share and --num-kv-blocks decide)"
