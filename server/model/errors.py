"""Errors of the model layer.

ModelError
├── BaseModelUnavailable      the folder, file or hub id cannot be loaded
├── UnsupportedArchitecture   the model cannot be served exactly; the message says why
├── SelfProofFailed           the paged path and the stock model disagree
├── EngineUnavailable         the chosen engine is not installed, or does not start with these settings
├── NonFiniteValues           a prefix or a sequence produced NaN or infinity
└── OutOfDeviceMemory         the KV cache does not fit
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of all errors of the model layer. Messages are written for the operator."""


class BaseModelUnavailable(ModelError):
    """The base model cannot be found or read."""


class UnsupportedArchitecture(ModelError):
    """The architecture cannot be served exactly as trained."""


class SelfProofFailed(ModelError):
    """The start-up self-proof found the paged path and the stock model in disagreement."""


class EngineUnavailable(ModelError):
    """The chosen engine is not installed, or does not start with these settings."""


class NonFiniteValues(ModelError):
    """A prefix's keys and values, or a sequence's logits, hold NaN or infinity in the serving dtype."""


class OutOfDeviceMemory(ModelError):
    """The device has no room for the smallest useful KV cache."""
