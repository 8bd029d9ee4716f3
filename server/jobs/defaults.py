"""What a tuning job gets where its request is silent, and what belongs to the server rather than to a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TuningDefaults:
    """`template` goes with `add_special_tokens`; `max_micro_batch_tokens` bounds one piece of work, in positions."""

    template: str = "{input}\n"
    add_special_tokens: bool | None = None
    max_micro_batch_tokens: int = 512
