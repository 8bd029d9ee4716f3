"""The bytes of a base model's tokens, as llguidance reads them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from llguidance import LLTokenizer, TokenizerWrapper


class Vocabulary:
    """`tokens` are the bytes of each row of the base model's logits, empty for one that no token has.

    `special` tokens are no text. `ends` are the tokens that end an answer. `drops_space`: a text of its own begins
    with a token whose space is no part of it, as sentencepiece has it; not one of `spaces_kept`, whose space is.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        special: Collection[int],
        ends: Collection[int],
        *,
        drops_space: bool = False,
        spaces_kept: Collection[int] = (),
    ) -> None:
        self.tokens = tuple(tokens)
        self.special = frozenset(special)
        self.ends = frozenset(ends)
        self.drops_space = drops_space
        self.spaces_kept = frozenset(spaces_kept)
        # llguidance needs an end token: where the base model has none, one beyond its rows.
        given = list(tokens) if self.ends else [*tokens, b""]
        ends_given = sorted(self.ends) or [self.num_tokens]
        described = _Described(given, sorted(self.special | set(ends_given)), ends_given[0])
        self.tokenizer = LLTokenizer(TokenizerWrapper(described), n_vocab=len(given), eos_token=ends_given)

    @property
    def num_tokens(self) -> int:
        """Rows of the base model's logits."""
        return len(self.tokens)

    @property
    def num_words(self) -> int:
        """32-bit words of a mask."""
        return -(-self.tokenizer.vocab_size // 32)

    def to_json(self) -> str:
        """The same as a text, for another process."""
        return json.dumps(
            {
                "tokens": [token.decode("latin-1") for token in self.tokens],
                "special": sorted(self.special),
                "ends": sorted(self.ends),
                "drops_space": self.drops_space,
                "spaces_kept": sorted(self.spaces_kept),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Read what `to_json` made."""
        fields = json.loads(text)
        return cls([token.encode("latin-1") for token in fields.pop("tokens")], **fields)


class _Described:
    """The attributes that `TokenizerWrapper` reads."""

    bos_token_id = None

    def __init__(self, tokens: list[bytes], special_token_ids: list[int], eos_token_id: int) -> None:
        self.tokens = tokens
        self.special_token_ids = special_token_ids
        self.eos_token_id = eos_token_id

    def __call__(self, text: bytes | str) -> list[int]:
        """Texts are never tokenized: no token is forced."""
        raise NotImplementedError
