"""Changes of logits before a token is chosen: penalties, bias and forbidden ids, in that order.

The entries of all rows go to the device together: a few index operations, for any number of rows and tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch

from server.model.sampling.sampling_row import SamplingRow
from server.model.transfer import to_device

_Numbers = npt.NDArray[np.float64]


def penalise(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> None:
    """Change float32 `logits` `[num_rows, vocab_size]` in place, row i of them as `rows[i]` says."""
    changed = [(number, row, row.params) for number, row in enumerate(rows) if row.changes_logits]
    if not changed:
        return
    _repetition(logits, [_repeated(number, row) for number, row, of in changed if of.repetition_penalty != 1.0])
    _presence_and_frequency(
        logits,
        [_counted(number, row) for number, row, of in changed if of.presence_penalty or of.frequency_penalty],
    )
    _bias(logits, [_entries(number, *zip(*of.logit_bias, strict=True)) for number, _, of in changed if of.logit_bias])
    _forbid(logits, [_entries(number, row.forbidden) for number, row, _ in changed if row.forbidden])


def _repeated(number: int, row: SamplingRow) -> _Numbers:
    return _entries(number, {*row.prompt, *row.output}, row.params.repetition_penalty)


def _counted(number: int, row: SamplingRow) -> _Numbers:
    counts = Counter(row.output)
    return _entries(number, counts, list(counts.values()), row.params.frequency_penalty, row.params.presence_penalty)


def _repetition(logits: torch.Tensor, entries: Sequence[_Numbers]) -> None:
    if entries:
        where, (penalty,) = _sent(entries, logits)
        values = logits[where]
        logits[where] = torch.where(values > 0, values / penalty, values * penalty)


def _presence_and_frequency(logits: torch.Tensor, entries: Sequence[_Numbers]) -> None:
    if entries:
        where, (count, frequency, presence) = _sent(entries, logits)
        logits[where] -= frequency * count + presence


def _bias(logits: torch.Tensor, entries: Sequence[_Numbers]) -> None:
    if entries:
        where, (bias,) = _sent(entries, logits)
        logits.index_put_(where, bias, accumulate=True)  # one token may be named twice


def _forbid(logits: torch.Tensor, entries: Sequence[_Numbers]) -> None:
    if entries:
        where, _ = _sent(entries, logits)
        logits[where] = float("-inf")


def _entries(number: int, tokens: Collection[int], *numbers: float | Sequence[float]) -> _Numbers:
    """Row number, token and the token's numbers, `[2 + len(numbers), num_tokens]`: float64 holds all exactly."""
    entries = np.empty((2 + len(numbers), len(tokens)))
    entries[0] = number
    entries[1] = np.fromiter(tokens, np.float64, len(tokens))
    for row, values in enumerate(numbers, start=2):
        entries[row] = values
    return entries


def _sent(
    entries: Sequence[_Numbers], logits: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]:
    """On the device of `logits`: an index into it, and the other numbers."""
    sent = to_device(torch.from_numpy(np.concatenate(entries, axis=1)), logits.device)
    row, token = sent[:2].long()
    return (row, token), sent[2:].to(logits.dtype).unbind()
