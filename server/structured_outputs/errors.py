"""Errors of structured answers. Messages are written for the caller.

StructuredOutputError
├── ConstraintRefused       the form cannot be served; `param` names the field at fault
├── VocabularyUnsupported   the base model's tokens cannot be described as bytes
├── CompilerBusy            too many forms wait to be compiled
└── MatcherFailed           an answer cannot go on in its form
"""

from __future__ import annotations


class StructuredOutputError(Exception):
    """Base of all errors of structured answers."""


class ConstraintRefused(StructuredOutputError):
    """A form that cannot be served. `param` names the field and the place in it."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class VocabularyUnsupported(StructuredOutputError):
    """The base model's tokens cannot be described as bytes."""


class CompilerBusy(StructuredOutputError):
    """Too many forms wait to be compiled."""


class MatcherFailed(StructuredOutputError):
    """No token can continue an answer in its form, or the form has become too complex."""
