"""Learned and sinusoidal positions per row: the model counts rows from the first one of the batch."""

from __future__ import annotations

from typing import Any

import torch

from server.model.encoder_decoder.stack_pass import current_pass


class RowPositions:
    """In place of the forward pass of `embed_positions`: the embeddings of the positions that the pass has."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, *_: Any, **__: Any) -> torch.Tensor:
        """`[1, num_rows, hidden_size]`, or without the first dimension."""
        embedded: torch.Tensor = type(self._module).forward(self._module, None, position_ids=current_pass().positions)
        return embedded
