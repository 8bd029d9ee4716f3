"""Tokens and log-probabilities of a step, read from the device in one transfer.

Everything is computed on the device and fetched together: a device that is waited for twice per step idles in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from server.model.sampling.sampler import choose, most_likely, rows_at_once, take_rows
from server.model.sampling.sampling_row import SamplingRow
from server.model.transfer import to_index


@dataclass(frozen=True, slots=True)
class Scoring:
    """Tokens whose log-probabilities are wanted, each with the `num_top` most likely in its place.

    Each of `rows` of the logits predicts one token, or a single row all of them.
    """

    rows: range
    tokens: Sequence[int]
    num_top: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tokens to sample and to score from one chunk's `rows` of the logits."""

    rows: range
    samplings: Sequence[SamplingRow] = ()
    scoring: Scoring | None = None


@dataclass(frozen=True, slots=True)
class RowLogprobs:
    """Log-probability of one token under the model's own distribution, and of the most likely ones, best first.

    Where an answer has a form, the distribution is that over the tokens which the form allows.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class SampledRow:
    """The chosen token."""

    token_id: int
    logprobs: RowLogprobs | None


@dataclass(frozen=True, slots=True)
class Readout:
    """The results for one chunk, in order. They mean nothing unless `is_finite`: no row holds NaN or +infinity."""

    is_finite: bool
    sampled: Sequence[SampledRow]
    scores: Sequence[RowLogprobs]


def read(logits: torch.Tensor, wanted: Sequence[Wanted]) -> list[Readout]:
    """Check, sample and score float32 `logits` `[num_logits, vocab_size]`: one result per entry of `wanted`."""
    if not len(logits):
        return [Readout(is_finite=True, sampled=(), scores=()) for _ in wanted]
    device = logits.device
    samplings = [row for one in wanted for row in one.samplings]
    scorings = [one.scoring for one in wanted if one.scoring is not None]
    best = most_likely(logits)
    largest = logits.gather(1, best[:, None])[:, 0]  # NaN counts as larger than any number
    tokens = choose(logits, best, samplings)
    alike = _by_num_logprobs(samplings)
    largest_values, token_ids, *scores = _fetch(
        largest,
        tokens,
        *(
            _score(logits, [samplings[number].row for number in numbers], take_rows(tokens, numbers), num_top)
            for num_top, numbers in alike.items()
        ),
        *(_score(logits, one.rows, to_index(one.tokens, device), one.num_top) for one in scorings),
    )
    logprobs: dict[int, RowLogprobs] = {}
    for numbers, matrix in zip(alike.values(), scores, strict=False):
        logprobs.update(zip(numbers, _row_logprobs(matrix), strict=True))
    sampled = (SampledRow(token, logprobs.get(number)) for number, token in enumerate(token_ids.astype(int).tolist()))
    scored = iter(scores[len(alike) :])
    finite = np.isfinite(largest_values).tolist()
    return [
        Readout(
            is_finite=all(finite[one.rows.start : one.rows.stop]),
            sampled=list(islice(sampled, len(one.samplings))),
            scores=() if one.scoring is None else _row_logprobs(next(scored)),
        )
        for one in wanted
    ]


def _by_num_logprobs(samplings: Sequence[SamplingRow]) -> dict[int, list[int]]:
    """Samplings by their number of log-probabilities: a neighbour that wants more must not change how ties break."""
    numbers: dict[int, list[int]] = {}
    for number, row in enumerate(samplings):
        if row.params.num_logprobs is not None:
            numbers.setdefault(row.params.num_logprobs, []).append(number)
    return numbers


def _score(logits: torch.Tensor, rows: Sequence[int], tokens: torch.Tensor, num_top: int) -> torch.Tensor:
    """`[num_tokens, 1 + 2 * num_top]` float64: each token's log-probability, those of the most likely, and their ids.

    `rows` of the logits are one for each of `tokens`, or one for all.
    """
    if len(rows) == 1:
        return _score_part(take_rows(logits, rows), tokens, num_top)
    size = rows_at_once(logits)
    parts = (slice(first, first + size) for first in range(0, len(rows), size))
    return torch.cat([_score_part(take_rows(logits, rows[part]), tokens[part], num_top) for part in parts])


def _score_part(logits: torch.Tensor, tokens: torch.Tensor, num_top: int) -> torch.Tensor:
    logprobs = logits.log_softmax(dim=-1)
    chosen = logprobs.expand(len(tokens), -1).gather(1, tokens[:, None])
    values, ids = logprobs.topk(min(num_top, logprobs.shape[1]), dim=-1)
    top = torch.cat([values.double(), ids.double()], dim=1)
    return torch.cat([chosen.double(), top.expand(len(tokens), -1)], dim=1)


def _row_logprobs(matrix: npt.NDArray[np.float64]) -> list[RowLogprobs]:
    num_top = matrix.shape[1] // 2
    rows = zip(
        matrix[:, 0].tolist(),
        matrix[:, 1 : 1 + num_top].tolist(),
        matrix[:, 1 + num_top :].astype(int).tolist(),
        strict=True,
    )
    return [RowLogprobs(logprob, _possible(ids, values)) for logprob, values, ids in rows]


def _possible(ids: Sequence[int], values: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """Tokens and log-probabilities without those that cannot come: a form may allow fewer than were asked for."""
    return tuple((token, value) for token, value in zip(ids, values, strict=True) if value != -math.inf)


def _fetch(*tensors: torch.Tensor) -> list[npt.NDArray[np.float64]]:
    """All of them in one transfer, as float64: it holds ids and float32 numbers exactly."""
    flat = torch.cat([tensor.flatten().double() for tensor in tensors]).cpu().numpy()
    parts, begin = [], 0
    for tensor in tensors:
        end = begin + tensor.numel()
        parts.append(flat[begin:end].reshape(tensor.shape))
        begin = end
    return parts
