"""The inputs of one sampled token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.model.sampling.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """One row of logits, and the parameters that turn it into a token.

    `seed` is the one drawn where `params` has none. `prompt` and `output` are the token ids so far, read by penalties
    alone and empty without any. `forbidden` ids are masked (the end tokens while `min_tokens` is not reached). `forced`
    is the token whatever the logits.
    """

    row: int
    params: SamplingParams
    seed: int
    choice: int = 0
    num_output: int = 0
    prompt: Sequence[int] = ()
    output: Sequence[int] = ()
    forbidden: frozenset[int] = frozenset()
    forced: int | None = None

    @property
    def changes_logits(self) -> bool:
        """Whether the argmax may differ from that of the raw logits."""
        return bool(self.forbidden or self.params.logit_bias or self.params.penalises)
