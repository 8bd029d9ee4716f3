"""What becomes of one prompt type with one task type on a base: PEFT tries it, then our reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prompts_store.errors import InvalidCheckpoint

TO_COMPARE = ""
_MAX_LENGTH = 160


def verdict(save: Callable[[], Path], answer: Callable[[Path], Any], read: Callable[[Path], Any]) -> str:
    """PEFT's error, or our reader's refusal, or `TO_COMPARE` where both take it.

    `save` lets PEFT write a checkpoint, `answer` lets PEFT answer with it, `read` is the server's reader.
    """
    try:
        folder = save()
        answer(folder)
    except Exception as error:  # whatever PEFT or the model raises
        return f"PEFT: {short(error)}"
    try:
        read(folder)
    except InvalidCheckpoint as error:
        return f"Refused when it is published: {short(error)}"
    return TO_COMPARE


def short(error: BaseException) -> str:
    """The first words of an error."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 1]}…"
