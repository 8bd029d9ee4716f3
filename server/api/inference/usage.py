"""Token counts of one request."""

from __future__ import annotations

from collections.abc import Sequence

from server.answering.choice_text import TextDelta
from server.answering.generation import Outvoted, PromptText, TextEvent
from server.api.wire.sampling import PromptTokensDetails, Usage
from server.engine.events import Encoded, Scored


class UsageCounter:
    """Counts the tokens of an answer, event by event. A prompt counts once for all its answers.

    A prompt counts once per prefix, because it runs behind each. `prefix_lengths` are in virtual tokens.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], prefix_lengths: Sequence[int]) -> None:
        self._num_prompt = sum(map(len, prompts)) * len(prefix_lengths)
        self._num_virtual = sum(prefix_lengths) * len(prompts)
        self._num_completion = 0
        self._num_cached = 0

    def add(self, event: TextEvent | Scored | Encoded) -> None:
        """Count one event."""
        match event:
            case PromptText() | Scored() | Encoded():
                self._num_cached += event.num_cached_tokens
            case TextDelta():
                self._num_completion += len(event.token_ids)
            case Outvoted():
                self._num_completion += event.num_tokens

    def usage(self) -> Usage:
        """The counts so far. Prompt tokens are text only; virtual tokens are counted apart."""
        return Usage(
            prompt_tokens=self._num_prompt,
            completion_tokens=self._num_completion,
            total_tokens=self._num_prompt + self._num_completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._num_cached, virtual_tokens=self._num_virtual),
        )
