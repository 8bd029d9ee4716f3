"""The sampler as its definition reads, one row at a time: what the batched one must answer to the token."""

from __future__ import annotations

from collections import Counter

import torch

from server.model.sampling.sampler import _uniform
from server.model.sampling.sampling_params import SamplingParams
from server.model.sampling.sampling_row import SamplingRow


def row(**changes) -> SamplingRow:
    """The first row of logits, drawn from as it is, unless said otherwise."""
    own = {"row": 0, "seed": 0, "choice": 0, "num_output": 0, "prompt": (), "output": (), "forbidden": frozenset()}
    own["forced"] = None
    own |= {name: changes.pop(name) for name in own.keys() & changes}
    return SamplingRow(params=SamplingParams(max_tokens=1, **changes), **own)


def sample_row(logits: torch.Tensor, row: SamplingRow) -> int:
    """The token that `row` chooses from its own logits `[vocab_size]`."""
    if row.forced is not None:
        return row.forced
    logits = adjusted(logits, row)
    if row.params.is_greedy:
        return int(logits.argmax())
    probabilities = truncated((logits / row.params.temperature).softmax(dim=-1), row.params)
    cumulative = probabilities.double().cumsum(dim=-1)
    point = _uniform(row.seed, row.choice, row.num_output) * cumulative[-1]
    token = int(torch.searchsorted(cumulative, point, right=True))
    return min(token, int(probabilities.nonzero()[-1]))


def adjusted(logits: torch.Tensor, row: SamplingRow) -> torch.Tensor:
    """Penalties, bias and forbidden ids, in that order."""
    logits = logits.clone()
    if row.params.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*row.prompt, *row.output}), dtype=torch.long, device=logits.device)
        values = logits[seen]
        penalty = row.params.repetition_penalty
        logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if row.output and (row.params.presence_penalty or row.params.frequency_penalty):
        counts = Counter(row.output)
        ids = torch.tensor(list(counts), device=logits.device)
        frequency = torch.tensor(list(counts.values()), dtype=logits.dtype, device=logits.device)
        logits[ids] -= row.params.presence_penalty + row.params.frequency_penalty * frequency
    for token, bias in row.params.logit_bias:
        logits[token] += bias
    for token in row.forbidden:
        logits[token] = float("-inf")
    return logits


def truncated(probabilities: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Zero what top_k, top_p and min_p cut off, in that order."""
    if not params.truncates:
        return probabilities
    values, order = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(values, dtype=torch.bool)
    if params.top_k > 0:
        keep[params.top_k :] = False
    if params.top_p < 1.0:
        kept = values * keep
        before = kept.cumsum(dim=-1) - kept
        keep &= before < params.top_p * kept.sum()
    if params.min_p > 0.0:
        keep &= values >= params.min_p * values[0]
    keep[0] = True
    return torch.zeros_like(probabilities).scatter(0, order[keep], values[keep])
