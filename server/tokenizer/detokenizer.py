"""Text of a growing token sequence, piece by piece.

The window method of Text Generation Inference (Hugging Face, 2023): a new token is decoded together with a few before
it, and what the decoder adds is its text. It needs nothing but `decode`, so byte-level BPE, sentencepiece's leading
spaces and byte fallback come out as the tokenizer itself writes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.tokenizer.tokenizer import Tokenizer

_NUM_CONTEXT_TOKENS = 6
"""Prompt tokens kept before the first new one: enough for a character of four byte tokens and the word before it."""

_MAX_PENDING_TOKENS = 64
"""So many tokens without one whole character are no text; passing them on bounds the work per token."""

_REPLACEMENT = "\ufffd"


class Detokenizer:
    """Turns one token after another into text that ends with a whole character. Special tokens have no text.

    `context` are the tokens before the first one; their text is not repeated. The pieces joined equal the decoding of
    context and tokens together, less that of the context.
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._decode = tokenizer.decode
        self._special = tokenizer.special_token_ids
        self._window = list(context[-_NUM_CONTEXT_TOKENS:])
        self._num_read = len(self._window)
        self._read_text = self._decode(self._window)

    def feed(self, token_id: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        if token_id in self._special:
            return ""
        self._window.append(token_id)
        text = self._decode(self._window)
        is_incomplete = text.endswith(_REPLACEMENT) or len(text) <= len(self._read_text)
        if is_incomplete and len(self._window) - self._num_read < _MAX_PENDING_TOKENS:
            return ""
        return self._advance(text)

    def flush(self) -> str:
        """The text of what is still incomplete, once no more tokens come."""
        return self._advance(self._decode(self._window))

    def _advance(self, text: str) -> str:
        piece = text[len(self._read_text) :]
        self._window = self._window[self._num_read :]
        self._num_read = len(self._window)
        self._read_text = self._decode(self._window)
        return piece
