"""Micro-batches of a step: examples of similar lengths, end to end as one flat row of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from server.tuning.encoding import EncodedExample


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Examples end to end, the shortest first, without padding and without the virtual tokens, which all of them share.

    `token_ids` and `positions` are `[num_tokens]`; positions are counted from the start of each example. `lengths` are
    the tokens of each example. Each completion token is one target: `targets` `[num_targets]` has the token, `rows`
    `[num_targets]` the row of the hidden state that predicts it, and `owners` `[num_targets]` the index of its example.
    A label is one target too, which the last row of its example predicts. `examples` are in its order.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    owners: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]
    examples: tuple[EncodedExample, ...]

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self.lengths)


def micro_batches(
    examples: Sequence[EncodedExample], *, num_virtual_tokens: int, max_tokens: int, device: torch.device
) -> Iterator[MicroBatch]:
    """Sort examples by length, and cut them into micro-batches of at most `max_tokens` positions.

    The virtual tokens count once per micro-batch. A longer example is a micro-batch of its own.
    """
    group: list[EncodedExample] = []
    num_positions = num_virtual_tokens
    for example in sorted(examples, key=lambda example: example.num_tokens):
        if group and num_positions + example.num_tokens > max_tokens:
            yield _flat(group, device)
            group, num_positions = [], num_virtual_tokens
        group.append(example)
        num_positions += example.num_tokens
    if group:
        yield _flat(group, device)


def _flat(group: Sequence[EncodedExample], device: torch.device) -> MicroBatch:
    ids: list[int] = []
    positions: list[int] = []
    rows: list[int] = []
    owners: list[int] = []
    targets: list[int] = []
    for index, example in enumerate(group):
        first_target = len(ids) + len(example.prompt) - 1
        rows += range(first_target, first_target + example.num_targets)
        owners += [index] * example.num_targets
        targets += example.completion if example.label is None else (example.label,)
        ids += [*example.prompt, *example.completion]
        positions += range(example.num_tokens)
    id_row, position_row, target_rows, target_owners, target_ids = (
        torch.tensor(values, device=device) for values in (ids, positions, rows, owners, targets)
    )
    lengths = tuple(example.num_tokens for example in group)
    return MicroBatch(id_row, position_row, target_rows, target_owners, target_ids, lengths, tuple(group))
