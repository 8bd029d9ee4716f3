"""The embeddings that enter an encoder: text alone as the model embeds it, and text behind a soft prompt as PEFT does.

Some models scale embeddings behind their embedding module. PEFT embeds text with the module alone, so that such a model
sees unscaled rows behind a soft prompt.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from server.model.flat_batch import EncoderInput


class InputEmbeddings:
    """Embeds the inputs of one model's encoder."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._embed: Any = model.get_input_embeddings()
        self._scale = float(getattr(model.get_encoder(), "embed_scale", 1.0))
        weight = self._embed.weight
        assert isinstance(weight, torch.Tensor)
        self._device, self.hidden_size = weight.device, int(weight.shape[1])

    def __call__(self, encoder_input: EncoderInput) -> torch.Tensor:
        """`[num_positions, hidden_size]`."""
        rows: torch.Tensor = self._embed(torch.tensor(encoder_input.tokens, device=self._device))
        if encoder_input.prompt is None:
            return rows * self._scale if self._scale != 1.0 else rows
        return torch.cat([encoder_input.prompt.to(self._device, rows.dtype), rows])
