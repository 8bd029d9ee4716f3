"""Counting the tokens of one request."""

from __future__ import annotations

from collections.abc import Sequence

from server.answering.choice_text import TextDelta
from server.answering.generation import Outvoted, PromptText, TextEvent
from server.api.wire.sampling import PromptTokensDetails, Usage
from server.engine.events import Scored


class UsageCounter:
    """Counts while the answer grows. Several answers share their prompt, which counts once.

    Each prompt is run behind every prefix, of which `prefix_lengths` has the virtual tokens, and counts each time.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], prefix_lengths: Sequence[int]) -> None:
        self._num_prompt = sum(map(len, prompts)) * len(prefix_lengths)
        self._num_virtual = sum(prefix_lengths) * len(prompts)
        self._num_completion = 0
        self._num_cached = 0

    def add(self, event: TextEvent | Scored) -> None:
        """Take one event into account."""
        match event:
            case PromptText() | Scored():
                self._num_cached += event.num_cached_tokens
            case TextDelta():
                self._num_completion += len(event.token_ids)
            case Outvoted():
                self._num_completion += event.num_tokens

    def usage(self) -> Usage:
        """What was counted so far: prompts count text only, virtual tokens are beside them."""
        return Usage(
            prompt_tokens=self._num_prompt,
            completion_tokens=self._num_completion,
            total_tokens=self._num_prompt + self._num_completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._num_cached, virtual_tokens=self._num_virtual),
        )
