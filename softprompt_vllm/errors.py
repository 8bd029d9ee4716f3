"""The errors of the connector and of its files. Every message says what to do.

SoftPromptError
├── Refused             one request is refused; the rest of the engine goes on
├── Unsupported         the engine cannot start with this model or setting
├── InvalidPrefixFile   a file of keys and values cannot be used
└── InvalidInputs       a front end gave inputs that no engine could serve
"""

from __future__ import annotations


class SoftPromptError(Exception):
    """Base of all errors of this package."""


class Refused(SoftPromptError):
    """A request cannot be served. The message is the reason."""


class Unsupported(SoftPromptError):
    """The connector does not support this model or setting of vLLM."""


class InvalidPrefixFile(SoftPromptError):
    """A file of keys and values is missing, damaged, or does not fit the model."""


class InvalidInputs(SoftPromptError):
    """The inputs of a request are wrong before any engine sees them."""
