"""Choosing tokens from logits: all rows of a step together, on the device, without waiting for it.

A row's token depends on its own parameters and its own random number. The number comes from (seed, choice, number of
output tokens so far), never from a stream shared with neighbours: the same seed gives the same answer in any batch, and
after preemption.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence

import torch

from server.model.sampling.penalties import penalise
from server.model.sampling.sampling_params import SamplingParams
from server.model.sampling.sampling_row import SamplingRow
from server.model.transfer import to_device, to_index

# Numbers that are sorted or summed at once: on a CPU its cache holds them, elsewhere they bound a step's memory.
_CPU_PART = 1 << 16
_DEVICE_PART = 1 << 22


def rows_at_once(logits: torch.Tensor) -> int:
    """The number of rows of `[num_rows, vocab_size]` to compute together."""
    return max(1, (_CPU_PART if logits.device.type == "cpu" else _DEVICE_PART) // logits.shape[1])


def take_rows(tensor: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Some rows of a tensor: a view where they lie side by side, as they mostly do, so that nothing is copied."""
    if rows and list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return tensor[rows[0] : rows[0] + len(rows)]
    return tensor[to_index(rows, tensor.device)]


def most_likely(logits: torch.Tensor) -> torch.Tensor:
    """The argmax of each row of `[num_rows, vocab_size]`: NaN, where there is one, else the first of equals."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(axis=-1))  # a tenth of the time that PyTorch's takes
    return logits.argmax(dim=-1)


def choose(logits: torch.Tensor, best: torch.Tensor, rows: Sequence[SamplingRow]) -> torch.Tensor:
    """Choose one token for each of `rows` from float32 `logits` `[num_logits, vocab_size]` (several may share a row).

    `best` `[num_logits]` comes from `most_likely`. Returns `[num_rows]` int64 on the device. For a row with NaN or
    positive infinity, the token is an arbitrary id of the vocabulary.
    """
    device = logits.device
    tokens = take_rows(best, [row.row for row in rows])
    greedy = [number for number, row in enumerate(rows) if row.params.is_greedy and row.changes_logits]
    drawn = [number for number, row in enumerate(rows) if not row.params.is_greedy]
    others = [*greedy, *sorted(drawn, key=lambda number: rows[number].params.truncates)]
    if others:
        picked = [rows[number] for number in others]
        changed = logits[to_index([row.row for row in picked], device)]  # a copy, which is written to
        penalise(changed, picked)
        parts = [most_likely(changed[: len(greedy)])] if greedy else []
        parts += _draw(changed[len(greedy) :], picked[len(greedy) :])
        tokens = tokens.index_copy(0, to_index(others, device), torch.cat(parts))
    forced = {number: row.forced for number, row in enumerate(rows) if row.forced is not None}
    if forced:
        ids = to_index(list(forced.values()), device)
        tokens = tokens.index_copy(0, to_index(list(forced), device), ids)
    return tokens


def _draw(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> Iterator[torch.Tensor]:
    """A random token for each row of `[num_rows, vocab_size]`, part by part. Changes `logits`."""
    size = rows_at_once(logits)
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        params = [row.params for row in part]
        temperature = _column([one.temperature for one in params], logits)
        probabilities = logits[first : first + size].div_(temperature).softmax(dim=-1)
        if any(one.truncates for one in params):
            probabilities = _truncated(probabilities, params)
        yield _inverted(probabilities, part)


def _truncated(probabilities: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor:
    """Zero what `top_k`, `top_p` (Holtzman et al. 2020) and `min_p` (Nguyen et al. 2024) exclude, in that order."""
    vocab_size = probabilities.shape[1]
    values, order = _sorted(probabilities)
    top_k = _column([one.top_k if one.top_k > 0 else vocab_size for one in params], values)
    keep = torch.arange(vocab_size, device=values.device) < top_k
    if any(one.top_p < 1.0 for one in params):
        top_p = _column([one.top_p if one.top_p < 1.0 else float("inf") for one in params], values)
        kept = values * keep
        sums = _running_sums(kept).to(kept.dtype)
        keep &= sums - kept < top_p * sums[:, -1:]
    min_p = _column([max(one.min_p, 0.0) for one in params], values)
    keep &= values >= min_p * values[:, :1]
    keep[:, 0] = True
    return torch.zeros_like(values).scatter_(1, order, values * keep)


def _sorted(probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's probabilities, largest first and the first of equals first, and their ids."""
    if probabilities.device.type != "cpu":
        return probabilities.sort(dim=-1, descending=True, stable=True)
    # NumPy sorts integers in a fraction of the time: a number's bits (none is negative), then its place from the end.
    last = probabilities.shape[1] - 1
    keys = (probabilities.view(torch.int32).long() << 32) + torch.arange(last, -1, -1, device=probabilities.device)
    keys.numpy().sort(axis=-1)
    order = last - (keys.flip(-1) & 0xFFFFFFFF)
    return probabilities.gather(1, order), order


def _inverted(probabilities: torch.Tensor, rows: Sequence[SamplingRow]) -> torch.Tensor:
    """The token of each row at which the running sum passes the row's random number."""
    sums = _running_sums(probabilities)
    # At most 1 - 2**-53: however the product is rounded, it stays below the sum of all.
    uniform = _column([_uniform(row.seed, row.choice, row.num_output) for row in rows], sums)
    tokens = torch.searchsorted(sums, uniform * sums[:, -1:], right=True)[:, 0]
    return tokens.clamp_(max=sums.shape[1] - 1)  # NaN finds no place


def _running_sums(probabilities: torch.Tensor) -> torch.Tensor:
    """Sums along each row, float64.

    Of numbers between 0 and 1 rounded to multiples of 2**-52, a double holds every such sum exactly: the order in which
    a device adds, which may depend on the number of rows, changes nothing.
    """
    return probabilities.double().add_(1.0).sub_(1.0).cumsum_(dim=-1)


def _column(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """`[num_rows, 1]`, of the type and on the device of `like`."""
    return to_device(torch.tensor(numbers, dtype=like.dtype, device="cpu")[:, None], like.device)


def _uniform(seed: int, choice: int, num_output: int) -> float:
    """A number in [0, 1) that depends on these three alone."""
    digest = hashlib.blake2b(struct.pack("<QQQ", seed % 2**64, choice, num_output), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
