"""Errors of an engine.

EngineError
├── RequestRefused        could never be served: the caller's mistake, raised before the request is accepted
│   ├── PromptEmpty
│   ├── TokenOutOfRange
│   ├── ContextExceeded
│   └── PrefixTooLarge
├── EngineOverloaded      the queue is full: try again later
├── EngineStopped         the engine has stopped or is stopping
├── NumbersOverflow       the model made NaN or infinity of this prompt
├── StructureFailed       no token can continue the answer in the form that was asked for
└── StepFailed            a step raised; its requests failed with it
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors of the engine."""


class RequestRefused(EngineError):
    """The request could never be served. The message is written for the caller."""


class PromptEmpty(RequestRefused):
    """The prompt has no tokens."""


class TokenOutOfRange(RequestRefused):
    """A prompt token id, stop token id or logit bias is not in the vocabulary."""


class ContextExceeded(RequestRefused):
    """Virtual tokens, prompt and `max_tokens` together exceed the context; the message has the numbers."""


class PrefixTooLarge(RequestRefused):
    """The prefix needs more blocks than the prefix budget holds."""


class EngineOverloaded(EngineError):
    """The queue is full."""


class EngineStopped(EngineError):
    """The engine has stopped, is stopping, or its thread has died."""


class NumbersOverflow(EngineError):
    """Soft prompt or text make the model's numbers overflow in the serving dtype; the cause is chained."""


class StructureFailed(EngineError):
    """No token can continue the answer in its form, or the form became too complex; the cause is chained."""


class StepFailed(EngineError):
    """A step raised; the cause is chained."""
