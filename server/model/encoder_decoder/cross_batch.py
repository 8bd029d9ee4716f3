"""The cross-attention of a step as tensors, in the form in which attention backends take decodes.

A row of the decoder sees all positions of its encoder's output: it is a decode at the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from server.model.flat_batch import Chunk, DecodeGroup, FlatBatch
from server.model.transfer import to_device


def build_cross_batch(chunks: Sequence[Chunk], block_size: int, device: torch.device) -> FlatBatch:
    """The batch of all decoder rows. Its `slots` are those of the step's new encoder outputs, chunk after chunk."""
    crosses = [chunk.cross for chunk in chunks if chunk.cross is not None]
    assert len(crosses) == len(chunks), "every chunk of a decoder behind an encoder has a cross table"
    owners = np.repeat(np.arange(len(chunks)), [chunk.num_tokens for chunk in chunks])
    last = np.array([cross.num_positions - 1 for cross in crosses])
    tables = np.zeros((len(chunks), int(last.max()) // block_size + 1), dtype=np.int64)
    slots = [np.zeros(0, dtype=np.int64)]
    for row, cross in zip(tables, crosses, strict=True):
        width = -(-cross.num_positions // block_size)
        row[:width] = cross.block_table[:width]
        if cross.new is not None:
            positions = np.arange(cross.num_positions)
            slots.append(row[positions // block_size] * block_size + positions % block_size)

    def put(array: np.ndarray) -> torch.Tensor:
        return to_device(torch.from_numpy(np.ascontiguousarray(array)), device)

    positions_of_rows = put(last[owners])
    return FlatBatch(
        token_ids=None,
        positions=positions_of_rows,
        slots=put(np.concatenate(slots)),
        logits_rows=positions_of_rows[:0],
        decodes=DecodeGroup(slice(0, len(owners)), put(tables[owners]), positions_of_rows),
        prefills=(),
    )
