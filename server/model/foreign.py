"""The boundary to transformers: its exceptions over a base model become errors of ours, with the reason.

transformers runs hundreds of architectures and reads files that anybody may have written. It may raise any exception,
so the catch is broad.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from server.model.errors import ModelError, OutOfDeviceMemory

_MAX_CHARACTERS = 300
# Their messages are sentences; those of other exceptions need their name to be understood.
_SPEAKING = (OSError, ValueError, RuntimeError, ImportError, SafetensorError)


@contextmanager
def foreign_errors(kind: type[ModelError], message: str) -> Iterator[None]:
    """Raise `kind` for what the block raises, with `message` and the reason; for lack of memory `OutOfDeviceMemory`."""
    try:
        yield
    except ModelError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfDeviceMemory(f"{message}: there is not enough memory") from error
    except Exception as error:
        raise kind(f"{message}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The message of a foreign exception, on one line of at most 300 characters."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return "it needs code of its own, which is never run"
    if not isinstance(error, _SPEAKING) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
