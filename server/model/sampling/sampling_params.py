"""The sampling parameters of a request."""

from __future__ import annotations

from dataclasses import dataclass

_MIN_TEMPERATURE = 1e-5


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The choice of the next token, and the end of a sequence.

    `temperature` 0 is greedy. `top_k` 0 or -1, `top_p` 1.0 and `min_p` 0.0 are off; `top_p` 0.0 leaves one token.
    `seed` None draws one at acceptance.
    `stop_token_ids` end the sequence with the token withheld from the output text (the token id is still reported).
    `num_logprobs` k >= 0 adds the sampled token's log-probability and the k most likely tokens; None adds neither.
    `prompt_logprobs` does the same for the prompt's own tokens (the first has none).
    Penalties follow OpenAI (presence, frequency: over output tokens) and CTRL, Keskar et al. 2019 (repetition: over
    prompt and output tokens).
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    num_logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature < _MIN_TEMPERATURE

    @property
    def penalises(self) -> bool:
        """Whether the tokens so far change the logits."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0)

    @property
    def truncates(self) -> bool:
        """Whether unlikely tokens are excluded."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0
