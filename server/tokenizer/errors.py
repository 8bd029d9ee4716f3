"""Errors of the text layer. Their messages are written for the caller.

TextError
├── TokenizerUnsupported    the base model's tokenizer cannot be served
├── UnknownToken            a token id outside the vocabulary, or without a row in the base model
└── ChatRefused             these messages cannot become a prompt
"""

from __future__ import annotations


class TextError(Exception):
    """Base of all errors of the text layer."""


class TokenizerUnsupported(TextError):
    """The base model has no tokenizer, or none that is fast."""


class UnknownToken(TextError):
    """A token id is outside the vocabulary, or the base model's embeddings have no row for it."""


class ChatRefused(TextError):
    """The chat template, or its absence, does not allow these messages. `param` names the one at fault, if one is."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
