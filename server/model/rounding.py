"""The part of the self-proof in half precision: how far the served path and the stock model are off by rounding.

Both are measured against float32 logits of the same weights. The stock model is the measure: a deep model rounds more
than a shallow one, and a few rows of random tokens round ten times more than the rest. So medians are compared, over
groups of rows, and of single rows only a gross error is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from server.model.proof_sequences import ProofSequence, logits_from

# The medians' ratio was at most 1.4 on real weights, and 3.7 in ten rows of a random model that amplifies all rounding.
# Planted faults made it 8 to 75.
_MAX_MEDIAN_RATIO = 4.0
# The largest errors differ more (8 times); unrelated logits are 1.4 standard deviations apart.
_MAX_LARGEST_RATIO = 5.0
_ALLOWED_LARGEST = 0.5


@dataclass(frozen=True, slots=True)
class Rounding:
    """Median root-mean-square error of a row of logits, in standard deviations of all logits."""

    served: float
    stock: float

    def __str__(self) -> str:
        return f"rounding costs {self.served:.1e} of it, and {self.stock:.1e} in the stock model"


def measure_rounding(
    served: Sequence[torch.Tensor],
    stock: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    sequences: Sequence[ProofSequence],
    epsilon: float,
) -> tuple[Rounding, str | None]:
    """Compare two sets of logits with the expected ones, `[num_logits_rows, vocab_size]` for each sequence.

    `epsilon` is the dtype's own: no error below it counts. Returns also what is wrong with the served logits, or None.
    """
    return compare_rounding(served, stock, expected, _groups(sequences, served[0].device), epsilon)


def compare_rounding(
    served: Sequence[torch.Tensor],
    stock: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    groups: Mapping[str, torch.Tensor],
    epsilon: float,
) -> tuple[Rounding, str | None]:
    """The same for any rows of numbers. `groups` names sets of rows, by their indices over all sequences."""
    spread = torch.cat(list(expected)).std()
    ours, theirs = (_row_errors(logits, expected) / spread for logits in (served, stock))
    rounding = Rounding(float(ours.median()), float(theirs.median()))
    for group, rows in groups.items():
        found = float(ours[rows].median())
        allowed = _MAX_MEDIAN_RATIO * max(float(theirs[rows].median()), rounding.stock, epsilon)
        if not found <= allowed:  # NaN fails too
            return (
                rounding,
                f"rows of {group} are off by {found:.2g} (allowed: {allowed:.2g}, by what the stock model is)",
            )
    largest = float(ours.max())
    allowed = max(_MAX_LARGEST_RATIO * float(theirs.max()), _ALLOWED_LARGEST)
    if not largest <= allowed:
        return rounding, f"a row is off by {largest:.2g} (allowed: {allowed:.2g})"
    return rounding, None


def _row_errors(logits: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> torch.Tensor:
    """Root-mean-square errors `[num_rows]`."""
    return torch.cat([(a - b).square().mean(1).sqrt() for a, b in zip(logits, expected, strict=True)])


def _groups(sequences: Sequence[ProofSequence], device: torch.device) -> dict[str, torch.Tensor]:
    """Names of rows, and their indices: a fault may touch few of all rows."""
    behind, decoded = [], []
    for sequence in sequences:
        behind += [sequence.prefix is not None] * len(sequence.logits_rows)
        decoded += [length == 1 for length in sequence.chunks for _ in range(logits_from(length), length)]
    masks = {
        "all kinds": [True] * len(behind),
        "decode steps": decoded,
        "prefills": [not is_decoded for is_decoded in decoded],
        "sequences with a prefix": behind,
        "sequences without one": [not has_prefix for has_prefix in behind],
    }
    return {name: torch.tensor(mask, device=device).nonzero()[:, 0] for name, mask in masks.items()}
