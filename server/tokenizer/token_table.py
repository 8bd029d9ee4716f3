"""A base model's tokens as bytes, for answers that must have a form."""

from __future__ import annotations

from collections.abc import Collection

from server.structured_outputs.errors import VocabularyUnsupported
from server.structured_outputs.vocabulary import Vocabulary
from server.tokenizer.tokenizer import Tokenizer

_SAMPLES = (
    "The first of May, 2024: 'twas a fine, well-kept garden.",
    'x {"name": ["Ada", null, -12.5e3], "is_new": true}\n  <b>',
)


def describe(tokenizer: Tokenizer, vocab_size: int, end_token_ids: Collection[int]) -> Vocabulary:
    """The bytes of the tokens of a base model with `vocab_size` logits. Tokens without a row are left out.

    Raises `VocabularyUnsupported` unless a text is the bytes of its tokens, one after another: WordPiece, for one, puts
    spaces between words that no token has.
    """
    special = tokenizer.special_token_ids
    for sample in _SAMPLES:
        ids = [one for one in tokenizer.encode(sample, add_special_tokens=False) if one not in special]
        joined = b"".join(map(tokenizer.token_bytes, ids))
        if tokenizer.decode(ids).encode() not in (joined, joined.removeprefix(b" ")):
            raise VocabularyUnsupported(
                "the base model's tokenizer makes texts that are not the bytes of their tokens, so answers cannot be "
                "kept in a form"
            )
    num_tokens = min(vocab_size, tokenizer.num_ids)
    tokens = [tokenizer.token_bytes(token_id) for token_id in range(num_tokens)]
    tokens += [b""] * (vocab_size - num_tokens)
    rows = range(vocab_size)
    return Vocabulary(
        tokens,
        [token_id for token_id in special if token_id in rows],
        [token_id for token_id in end_token_ids if token_id in rows],
        drops_space=_drops_space(tokenizer),
        spaces_kept=[token_id for token_id, data in enumerate(tokens) if _keeps_space(tokenizer, token_id, data)],
    )


def _drops_space(tokenizer: Tokenizer) -> bool:
    """Whether a text begins with a token whose space is no part of the text."""
    ids = [one for one in tokenizer.encode("a", add_special_tokens=False) if one not in tokenizer.special_token_ids]
    return b"".join(map(tokenizer.token_bytes, ids)) == b" a" and tokenizer.decode(ids) == "a"


def _keeps_space(tokenizer: Tokenizer, token_id: int, data: bytes) -> bool:
    """Whether a token that begins with a space keeps it at the beginning of a text, as the byte 0x20 does."""
    return data.startswith(b" ") and tokenizer.decode([token_id]).encode() != data[1:]
