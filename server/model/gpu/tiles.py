"""The work of a step's attention cut into tiles, on the host: which rows attend over which blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.model.flat_batch import Chunk

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TilePlan:
    """Tiles `[num_tiles, 4]`: sequence, first flat-batch row, tokens, position of the first token.

    `decodes` are the tiles of one-token chunks, `prefills` those of longer ones, cut to what one program takes.
    `tables` `[num_sequences, max_blocks]` holds the block tables, padded with block 0, which no tile reads.
    """

    decodes: Integers
    prefills: Integers
    tables: Integers


def plan_tiles(chunks: Sequence[Chunk], block_size: int, max_tile_tokens: int) -> TilePlan:
    """Cut chunks, laid end to end, into tiles of at most `max_tile_tokens` tokens."""
    decodes: list[tuple[int, int, int, int]] = []
    prefills: list[tuple[int, int, int, int]] = []
    num_blocks = [-(-(chunk.start + chunk.num_tokens) // block_size) for chunk in chunks]
    tables = np.zeros((len(chunks), max(num_blocks, default=1)), dtype=np.int64)
    first_row = 0
    for sequence, chunk in enumerate(chunks):
        tables[sequence, : num_blocks[sequence]] = chunk.block_table[: num_blocks[sequence]]
        if chunk.num_tokens == 1:
            decodes.append((sequence, first_row, 1, chunk.start))
        else:
            for offset in range(0, chunk.num_tokens, max_tile_tokens):
                length = min(max_tile_tokens, chunk.num_tokens - offset)
                prefills.append((sequence, first_row + offset, length, chunk.start + offset))
        first_row += chunk.num_tokens
    return TilePlan(_rows(decodes), _rows(prefills), tables)


def _rows(tiles: list[tuple[int, int, int, int]]) -> Integers:
    return np.array(tiles, dtype=np.int64).reshape(-1, 4)
