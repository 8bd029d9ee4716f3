"""One message of a conversation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message: its role ("system", "user", "assistant", …) and its text."""

    role: str
    content: str
