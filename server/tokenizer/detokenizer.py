"""Text of a growing token sequence, piece by piece.

The window method of Text Generation Inference (Hugging Face, 2023): a new token is decoded together with a few before
it, and the text that the decoder adds is the token's. It needs only `decode`, so byte-level BPE, sentencepiece's
leading spaces and byte fallback give the tokenizer's own text. A token whose text is the same everywhere is decoded
once: each later one would take two calls into the Rust library, which give the interpreter to the engine's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from server.tokenizer.tokenizer import Tokenizer

_NUM_CONTEXT_TOKENS = 6
"""Prompt tokens kept before the first new one: enough for a character of four byte tokens and the word before it."""

_MAX_CHARACTER_BYTES = 4

_MAX_PENDING_TOKENS = 64
"""Tokens without a whole character that are passed on as they are: a longer window costs more per token."""

_REPLACEMENT = "\ufffd"


class Detokenizer:
    """Turns one token after another into text that ends with a whole character. Special tokens have no text.

    `context` is the tokens before the first one; their text is not repeated. The pieces joined equal
    `decode(context + tokens)` without its beginning `decode(context)`.
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._decode = tokenizer.decode
        self._bytes_of = tokenizer.token_bytes
        self._lone_text = tokenizer.lone_text
        self._special = tokenizer.special_token_ids
        self._window = _end_of(context, tokenizer)
        self._num_read = len(self._window)
        self._read_text = self._text = self._decode(self._window)

    def feed(self, token_id: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        if token_id in self._special:
            return ""
        is_between_characters = len(self._window) == self._num_read and not self._text.endswith(_REPLACEMENT)
        if is_between_characters and (text := self._lone_text(token_id)) is not None:
            self._window, self._num_read = [token_id], 1
            self._read_text = self._text = text
            return text
        self._window.append(token_id)
        self._text = self._decode(self._window)
        is_incomplete = self._text.endswith(_REPLACEMENT) or len(self._text) <= len(self._read_text)
        if is_incomplete and len(self._window) - self._num_read < _MAX_PENDING_TOKENS:
            return ""
        return self._advance()

    def flush(self) -> str:
        """The text of the incomplete rest, once no more tokens come."""
        return self._advance()

    def next_bytes(self, token_id: int) -> bytes:
        """The bytes that this token would add as the next one. Those of all tokens joined are the text's.

        A special token has the bytes of its name.
        """
        alone = self._bytes_of(token_id)
        if token_id in self._special or self._text.endswith(_REPLACEMENT) or not _is_text(alone):
            return alone
        return self._decode([*self._window, token_id])[len(self._text) :].encode()

    def _advance(self) -> str:
        piece = self._text[len(self._read_text) :]
        self._window = self._window[self._num_read :]
        self._num_read = len(self._window)
        self._read_text = self._text = self._decode(self._window)
        return piece


def _end_of(context: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The last tokens of a context that have a text, the first of them not amid a character.

    Byte fallback reads bytes in a row as one: half a character before them spoils them all.
    """
    with_text = (token_id for token_id in reversed(context) if token_id not in tokenizer.special_token_ids)
    end = [*islice(with_text, _NUM_CONTEXT_TOKENS + _MAX_CHARACTER_BYTES)][::-1]
    for num_tokens in range(_NUM_CONTEXT_TOKENS, len(end) + 1):
        window = end[-num_tokens:]
        if not tokenizer.decode(window).startswith(_REPLACEMENT):
            return window
    return end[-_NUM_CONTEXT_TOKENS:]


def text_behind(tokenizer: Tokenizer, context: Sequence[int], token_ids: Sequence[int]) -> str:
    """The text of tokens that continue a context."""
    detokenizer = Detokenizer(tokenizer, context)
    return "".join(map(detokenizer.feed, token_ids)) + detokenizer.flush()


def _is_text(data: bytes) -> bool:
    """Whether the bytes are whole characters."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
