"""Counting the tokens of one request."""

from __future__ import annotations

from collections.abc import Sequence

from server.answering.choice_text import TextDelta
from server.answering.generation import Outvoted, PromptText, TextEvent
from server.api.wire.sampling import PromptTokensDetails, Usage


def usage_of(*, num_prompt: int, num_completion: int, num_cached: int, num_virtual: int) -> Usage:
    """Usage on the wire. `num_prompt` counts text only; `num_virtual` is beside it."""
    return Usage(
        prompt_tokens=num_prompt,
        completion_tokens=num_completion,
        total_tokens=num_prompt + num_completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=num_cached, virtual_tokens=num_virtual),
    )


class UsageCounter:
    """Counts while the answer grows. Several answers share their prompt, which counts once.

    Each prompt is run behind every prefix, of which `prefix_lengths` has the virtual tokens, and counts each time.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], prefix_lengths: Sequence[int]) -> None:
        self._num_prompt = sum(map(len, prompts)) * len(prefix_lengths)
        self._num_virtual = sum(prefix_lengths) * len(prompts)
        self._num_completion = 0
        self._num_cached = 0

    def add(self, event: TextEvent) -> None:
        """Take one event into account."""
        match event:
            case PromptText():
                self._num_cached += event.num_cached_tokens
            case TextDelta():
                self._num_completion += len(event.token_ids)
            case Outvoted():
                self._num_completion += event.num_tokens

    def usage(self) -> Usage:
        """What was counted so far."""
        return usage_of(
            num_prompt=self._num_prompt,
            num_completion=self._num_completion,
            num_cached=self._num_cached,
            num_virtual=self._num_virtual,
        )
