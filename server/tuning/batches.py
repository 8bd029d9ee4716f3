"""Micro-batches of a step: right-padded examples of similar lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from server.tuning.encoding import EncodedExample


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Examples side by side. The padding is on the right, where no real token of a causal model attends.

    `token_ids` is `[num_examples, width]`. Each completion token is one target. `targets` `[num_targets]` has the
    token; `rows` and `columns` `[num_targets]` have the position of the hidden state that predicts it. Columns count
    text positions, so virtual tokens shift them. Targets of one example are adjacent, in the order of `token_ids`.
    """

    token_ids: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return int(self.token_ids.shape[0])


def micro_batches(
    examples: Sequence[EncodedExample], *, num_virtual_tokens: int, max_tokens: int, device: torch.device
) -> Iterator[MicroBatch]:
    """Sort examples by length, and cut them into micro-batches of at most `max_tokens` positions.

    Virtual tokens, text and padding count as positions. A longer example is a micro-batch of its own.
    """
    group: list[EncodedExample] = []
    for example in sorted(examples, key=lambda example: example.num_tokens):
        width = num_virtual_tokens + example.num_tokens
        if group and width * (len(group) + 1) > max_tokens:
            yield _padded(group, device)
            group = []
        group.append(example)
    if group:
        yield _padded(group, device)


def _padded(group: Sequence[EncodedExample], device: torch.device) -> MicroBatch:
    width = max(example.num_tokens for example in group)
    ids: list[list[int]] = []
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, example in enumerate(group):
        ids.append([*example.prompt, *example.completion, *[0] * (width - example.num_tokens)])
        rows += [row] * len(example.completion)
        columns += range(len(example.prompt) - 1, example.num_tokens - 1)
        targets += example.completion
    return MicroBatch(*(torch.tensor(values, device=device) for values in (ids, rows, columns, targets)))
