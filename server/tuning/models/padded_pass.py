"""Forward passes of padded micro-batches by PEFT's own model, with transformers' own attention and masks."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from server.model.base_model import LoadedModel
from server.tuning.cost import costs_of
from server.tuning.errors import TuningUnsupported
from server.tuning.models.padded_batches import PaddedBatch
from server.tuning.models.recomputation import Recomputation
from server.tuning.models.soft_prompt import SoftPrompt
from server.tuning.piece_room import PieceRoom

_LONG, _SHORT = 5, 3
_TOLERANCE = 1e-3


class PaddedPass:
    """PEFT's model around a twin.

    The run may take `memory_bytes`; None is a share of what is left. The backward pass recomputes the layers for whose
    activations there is no room. Layers with keys and values of the prompt in a cache are not recomputed: they would
    write into it twice.
    """

    def __init__(
        self, twin: PreTrainedModel, loaded: LoadedModel, prompt: SoftPrompt, memory_bytes: int | None
    ) -> None:
        self._prompt = prompt
        self.padding = twin.config.get_text_config().pad_token_id or 0
        self.recomputation: Recomputation | None = None
        if not prompt.is_key_values:
            num_parameters = sum(parameter.numel() for parameter in prompt.parameters)
            room = PieceRoom.of_run(loaded.device, memory_bytes, num_parameters)
            self.recomputation = Recomputation(twin, costs_of(loaded), room.measure, has_context=False)

    def logits(self, batch: PaddedBatch, **inputs: Any) -> torch.Tensor:
        """Float32 logits of a batch, whose inputs besides the encoder's are `inputs`."""
        width = self._prompt.num_virtual_tokens + batch.token_ids.shape[1]
        if self.recomputation is not None and torch.is_grad_enabled():
            num_positions = batch.num_examples * (width + batch.decoder_ids.shape[1])
            self.recomputation.choose(num_positions, width)
        output: Any = self._prompt.model(input_ids=batch.token_ids, attention_mask=batch.mask, **inputs)
        logits: torch.Tensor = output.logits
        return logits.float()


@torch.no_grad()
def check_padding(padded: PaddedPass, device: torch.device, decoder_ids: tuple[int, ...] = ()) -> None:
    """Raise `TuningUnsupported` unless an example has the same logits with padding as alone.

    `decoder_ids` are the inputs of a decoder, if there is one.
    """
    ids = torch.arange(2 * _LONG, device=device).reshape(2, _LONG) + 1
    mask = torch.ones_like(ids)
    mask[1, _SHORT:] = 0
    nothing = ids[:, :0]

    def logits(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        given = torch.tensor([decoder_ids] * len(ids), device=device)
        inputs = {"decoder_input_ids": given, "use_cache": False} if decoder_ids else {}
        return padded.logits(PaddedBatch(ids, mask, nothing, nothing, nothing, nothing), **inputs)

    alone = logits(ids[1:, :_SHORT], mask[1:, :_SHORT])
    beside = logits(torch.where(mask == 1, ids, padded.padding), mask)[1:]
    if not torch.allclose(alone, beside, rtol=_TOLERANCE, atol=_TOLERANCE * float(alone.abs().max())):
        raise TuningUnsupported("an example has other logits with padding behind it, so examples cannot be batched")
