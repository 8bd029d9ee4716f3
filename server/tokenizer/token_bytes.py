"""The bytes that each token stands for, in every family of tokenizers."""

from __future__ import annotations

import json
import re

import tokenizers

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_SENTENCEPIECE_SPACE = "\u2581"


def _byte_level_alphabet() -> dict[str, int]:
    """Map from printable stand-in to byte, as in GPT-2's `bytes_to_unicode` (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = [*printable, *range(256, 256 + len(others))]
    return {chr(stand_in): byte for stand_in, byte in zip(stand_ins, [*printable, *others], strict=True)}


_BYTE_OF = _byte_level_alphabet()
STAND_IN_OF = {byte: stand_in for stand_in, byte in _BYTE_OF.items()}
"""How a byte-level vocabulary writes each byte."""


class TokenBytes:
    """Looks up the bytes of single tokens; the bytes of a sequence are their concatenation.

    A sentencepiece tokenizer's decoder drops the space before the very first word; here it is kept.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self._added = {token_id: token.content for token_id, token in backend.get_added_tokens_decoder().items()}
        self._byte_level = '"ByteLevel"' in _written(backend.decoder)
        self._byte_fallback = _falls_back_to_bytes(backend)

    def of(self, token_id: int) -> bytes:
        """The bytes of one token; empty for an id that no token has."""
        if token_id in self._added:
            return self._added[token_id].encode()
        piece = self._backend.id_to_token(token_id)
        if piece is None:
            return b""
        if self._byte_level and all(character in _BYTE_OF for character in piece):
            return bytes(_BYTE_OF[character] for character in piece)
        if self._byte_fallback and (match := _BYTE_FALLBACK.fullmatch(piece)):
            return bytes([int(match[1], 16)])
        return piece.replace(_SENTENCEPIECE_SPACE, " ").encode()


def _written(decoder: tokenizers.decoders.Decoder | None) -> str:
    """The decoder as `tokenizer.json` has it."""
    alone = tokenizers.Tokenizer(tokenizers.models.BPE())
    if decoder is not None:
        alone.decoder = decoder
    return alone.to_str()


def _falls_back_to_bytes(backend: tokenizers.Tokenizer) -> bool:
    """Whether characters without a token are written as their bytes. Only BPE says so without its whole vocabulary."""
    if isinstance(backend.model, tokenizers.models.BPE):
        return backend.model.byte_fallback
    return bool(json.loads(backend.to_str())["model"].get("byte_fallback"))
