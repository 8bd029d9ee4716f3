"""Choosing tokens from logits. Each row is chosen by its own parameters and its own random number, alone.

A row's random number comes from (seed, choice, number of output tokens so far), never from a stream shared with
neighbours: the same seed gives the same answer whatever else is in the batch, and after preemption.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
    def changes_logits(self) -> bool:
        """Whether the argmax may differ from that of the raw logits."""
        penalised = self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0
        return bool(self.forbidden or self.logit_bias or penalised)


@dataclass(frozen=True, slots=True)
class RowLogprobs:
    """Log-probability of one token under the model's own distribution, and of the most likely ones, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class SampledRow:
    """The chosen token."""

    token_id: int
    logprobs: RowLogprobs | None


def finite_rows(logits: torch.Tensor) -> list[bool]:
    """Whether each row of `[num_rows, vocab_size]` can be sampled from (no NaN, no positive infinity)."""
    finite: list[bool] = torch.isfinite(logits.amax(dim=-1)).tolist()
    return finite


def sample(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[SampledRow]:
    """Choose one token for each of `rows` from float32 `logits` `[num_rows, vocab_size]` (several may share a row)."""
    plain = [row for row in rows if row.temperature < _MIN_TEMPERATURE and not row.changes_logits]
    greedy: dict[int, int] = {}
    if plain:
        picked = sorted({row.row for row in plain})
        chosen = logits if len(picked) == len(logits) else logits[torch.tensor(picked, device=logits.device)]
        best = chosen.argmax(dim=-1).tolist()
        greedy = dict(zip(picked, best, strict=True))
    plain_rows = {id(row) for row in plain}
    sampled = []
    for row in rows:
        token = greedy[row.row] if id(row) in plain_rows else _sample_row(logits[row.row], row)
        wanted = row.num_logprobs
        logprobs = None if wanted is None else score(logits[row.row][None], [token], wanted)[0]
        sampled.append(SampledRow(token, logprobs))
    return sampled


def score(logits: torch.Tensor, tokens: Sequence[int], num_top: int) -> list[RowLogprobs]:
    """Log-probabilities of `tokens[i]` and the `num_top` most likely ones under row i of `[num_tokens, vocab_size]`."""
    logprobs = logits.log_softmax(dim=-1)
    chosen = logprobs.gather(1, torch.tensor(list(tokens), device=logits.device)[:, None])[:, 0].tolist()
    if num_top == 0:
        return [RowLogprobs(value, ()) for value in chosen]
    values, ids = logprobs.topk(min(num_top, logprobs.shape[1]), dim=-1)
    tops = (tuple(zip(i, v, strict=True)) for i, v in zip(ids.tolist(), values.tolist(), strict=True))
    return [RowLogprobs(value, top) for value, top in zip(chosen, tops, strict=True)]


def _sample_row(logits: torch.Tensor, row: SamplingRow) -> int:
    logits = _adjusted(logits, row) if row.changes_logits else logits
    if row.temperature < _MIN_TEMPERATURE:
        return int(logits.argmax())
    probabilities = (logits / row.temperature).softmax(dim=-1)
    probabilities = _truncated(probabilities, row)
    cumulative = probabilities.double().cumsum(dim=-1)
    point = _uniform(row.seed, row.choice, row.num_output) * cumulative[-1]
    token = int(torch.searchsorted(cumulative, point, right=True))
    # Rounding may put the point on the very end: the last token that has any probability.
    return min(token, int(probabilities.nonzero()[-1]))


def _adjusted(logits: torch.Tensor, row: SamplingRow) -> torch.Tensor:
    """Penalties, bias and forbidden ids, in that order."""
    logits = logits.clone()
    if row.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*row.prompt, *row.output}), device=logits.device)
        values = logits[seen]
        logits[seen] = torch.where(values > 0, values / row.repetition_penalty, values * row.repetition_penalty)
    if row.output and (row.presence_penalty or row.frequency_penalty):
        counts = Counter(row.output)
        ids = torch.tensor(list(counts), device=logits.device)
        frequency = torch.tensor(list(counts.values()), dtype=logits.dtype, device=logits.device)
        logits[ids] -= row.presence_penalty + row.frequency_penalty * frequency
    if row.logit_bias:
        biased, biases = zip(*row.logit_bias, strict=True)
        values = torch.tensor(biases, dtype=logits.dtype, device=logits.device)
        logits.index_add_(0, torch.tensor(biased, device=logits.device), values)
    if row.forbidden:
        logits[torch.tensor(sorted(row.forbidden), device=logits.device)] = float("-inf")
    return logits


def _truncated(probabilities: torch.Tensor, row: SamplingRow) -> torch.Tensor:
    """Zero what `top_k`, `top_p` (Holtzman et al. 2020) and `min_p` (Nguyen et al. 2024) cut off, in that order."""
    if row.top_k <= 0 and row.top_p >= 1.0 and row.min_p <= 0.0:
        return probabilities
    values, order = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(values, dtype=torch.bool)
    if row.top_k > 0:
        keep[row.top_k :] = False
    if row.top_p < 1.0:
        kept = values * keep
        before = kept.cumsum(dim=-1) - kept
        keep &= before < row.top_p * kept.sum()
    if row.min_p > 0.0:
        keep &= values >= row.min_p * values[0]
    keep[0] = True
    return torch.zeros_like(probabilities).scatter(0, order[keep], values[keep])


def _uniform(seed: int, choice: int, num_output: int) -> float:
    """A number in [0, 1) that depends on these three alone."""
    digest = hashlib.blake2b(struct.pack("<QQQ", seed % 2**64, choice, num_output), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
