"""The sampler as its definition reads, one row at a time: what the batched one must answer to the token."""

from __future__ import annotations

from collections import Counter

import torch

from server.model.sampling.sampler import _uniform
from server.model.sampling.sampling_row import SamplingRow


def row(**changes) -> SamplingRow:
    """The first row of logits, drawn from as it is, unless said otherwise."""
    values = {
        "row": 0,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "seed": 0,
        "choice": 0,
        "num_output": 0,
        "num_logprobs": None,
        "prompt": (),
        "output": (),
        "forbidden": frozenset(),
        "logit_bias": (),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
    }
    return SamplingRow(**(values | changes))


def sample_row(logits: torch.Tensor, row: SamplingRow) -> int:
    """The token that `row` chooses from its own logits `[vocab_size]`."""
    logits = adjusted(logits, row)
    if row.is_greedy:
        return int(logits.argmax())
    probabilities = truncated((logits / row.temperature).softmax(dim=-1), row)
    cumulative = probabilities.double().cumsum(dim=-1)
    point = _uniform(row.seed, row.choice, row.num_output) * cumulative[-1]
    token = int(torch.searchsorted(cumulative, point, right=True))
    return min(token, int(probabilities.nonzero()[-1]))


def adjusted(logits: torch.Tensor, row: SamplingRow) -> torch.Tensor:
    """Penalties, bias and forbidden ids, in that order."""
    logits = logits.clone()
    if row.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*row.prompt, *row.output}), dtype=torch.long, device=logits.device)
        values = logits[seen]
        logits[seen] = torch.where(values > 0, values / row.repetition_penalty, values * row.repetition_penalty)
    if row.output and (row.presence_penalty or row.frequency_penalty):
        counts = Counter(row.output)
        ids = torch.tensor(list(counts), device=logits.device)
        frequency = torch.tensor(list(counts.values()), dtype=logits.dtype, device=logits.device)
        logits[ids] -= row.presence_penalty + row.frequency_penalty * frequency
    for token, bias in row.logit_bias:
        logits[token] += bias
    for token in row.forbidden:
        logits[token] = float("-inf")
    return logits


def truncated(probabilities: torch.Tensor, row: SamplingRow) -> torch.Tensor:
    """Zero what top_k, top_p and min_p cut off, in that order."""
    if not row.truncates:
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
