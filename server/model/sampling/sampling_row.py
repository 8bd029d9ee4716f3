"""What one sampled token is chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MIN_TEMPERATURE = 1e-5


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """How one row of logits becomes a token.

    `prompt` and `output` are the token ids so far, read by penalties alone and empty without any. `forbidden` ids are
    masked (the end tokens while `min_tokens` is not reached). Other names are those of `SamplingParams`.
    """

    row: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int
    choice: int
    num_output: int
    num_logprobs: int | None
    prompt: Sequence[int]
    output: Sequence[int]
    forbidden: frozenset[int]
    logit_bias: tuple[tuple[int, float], ...]
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature < _MIN_TEMPERATURE

    @property
    def changes_logits(self) -> bool:
        """Whether the argmax may differ from that of the raw logits."""
        penalised = self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0
        return bool(self.forbidden or self.logit_bias or penalised)

    @property
    def truncates(self) -> bool:
        """Whether unlikely tokens are cut off."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0
