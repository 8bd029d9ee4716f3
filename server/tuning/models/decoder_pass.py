"""Forward passes of flat micro-batches through a frozen decoder behind a soft prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from server.model.architecture import Architecture
from server.model.attention import attending
from server.model.base_model import LoadedModel
from server.tuning.cost import costs_of
from server.tuning.errors import TuningUnsupported
from server.tuning.models.flat_attention import FlatAttention, LayerKeyValues, RecordingAttention, ReplayingAttention
from server.tuning.models.flat_batches import MicroBatch
from server.tuning.models.recomputation import Recomputation
from server.tuning.models.soft_prompt import SoftPrompt
from server.tuning.piece_room import PieceRoom


class DecoderPass:
    """The decoder of a twin whose attention is over the context of a flat micro-batch.

    The run may take `memory_bytes`; None is a share of what is left. The backward pass recomputes the layers for whose
    activations there is no room. Raises `TuningUnsupported` for keys and values that the decoder does not take.
    """

    def __init__(
        self, twin: PreTrainedModel, loaded: LoadedModel, prompt: SoftPrompt, memory_bytes: int | None
    ) -> None:
        if prompt.is_key_values:
            _check_key_values(prompt, loaded.architecture)
        self._prompt = prompt
        self._device = loaded.device
        self._embed = twin.get_input_embeddings()
        self._decoder: Any = twin.base_model
        num_parameters = sum(parameter.numel() for parameter in prompt.parameters)
        room = PieceRoom.of_run(loaded.device, memory_bytes, num_parameters)
        self.recomputation = Recomputation(twin, costs_of(loaded), room.measure)

    def hidden(self, batch: MicroBatch) -> torch.Tensor:
        """Last hidden states that predict the targets, `[num_targets, hidden_size]`."""
        prompt = self._prompt
        first = prompt.num_virtual_tokens
        embeds = self._embed(batch.token_ids).detach()
        positions = batch.positions + first
        if prompt.is_key_values:
            attention = FlatAttention(batch.lengths, first, self._device, prompt.key_values())
            shift = 0
        else:
            attention = FlatAttention(batch.lengths, first, self._device)
            embeds = torch.cat([prompt.embeddings().to(embeds.dtype), embeds])
            positions = torch.cat([torch.arange(first, device=self._device), positions])
            shift = first
        if torch.is_grad_enabled():
            self.recomputation.choose(len(embeds), first + max(batch.lengths))
        return self._decode(embeds, positions, attention)[batch.rows + shift]

    @torch.no_grad()
    def key_values_of(self, token_ids: Sequence[int]) -> list[LayerKeyValues]:
        """Keys and values that the decoder computes from a text, per layer."""
        attention = RecordingAttention(len(token_ids), self._device)
        ids = torch.tensor(token_ids, device=self._device)
        self._decode(self._embed(ids), torch.arange(len(ids), device=self._device), attention)
        return attention.recorded

    @torch.no_grad()
    def spaced_key_values_of(self, token_ids: Sequence[int], num_tokens: int) -> list[LayerKeyValues]:
        """Keys and values of `num_tokens` evenly spaced tokens of a text, its first and its last among them.

        Each token has read all of the text before it, and then stands at the positions 0, 1, …: a first pass keeps what
        attention gave the tokens, and a second one gives it to them again at their new positions.
        """
        steps = range(num_tokens)
        spaced = [round(step * (len(token_ids) - 1) / max(1, num_tokens - 1)) for step in steps]
        ids, rows = torch.tensor(token_ids, device=self._device), torch.tensor(spaced, device=self._device)
        whole = RecordingAttention(len(ids), self._device, rows)
        self._decode(self._embed(ids), torch.arange(len(ids), device=self._device), whole)
        moved = ReplayingAttention(whole.outputs, num_tokens, self._device)
        self._decode(self._embed(ids[rows]), torch.arange(num_tokens, device=self._device), moved)
        return moved.recorded

    @torch.no_grad()
    def hidden_behind(self, batch: MicroBatch, before: Sequence[LayerKeyValues]) -> torch.Tensor:
        """`hidden` behind the keys and values of a text in place of the soft prompt, without a gradient."""
        num_before = before[0].keys.shape[1]
        attention = FlatAttention(batch.lengths, num_before, self._device, before)
        return self._decode(self._embed(batch.token_ids), batch.positions + num_before, attention)[batch.rows]

    def _decode(self, embeds: torch.Tensor, positions: torch.Tensor, attention: FlatAttention) -> torch.Tensor:
        """Last hidden states `[num_tokens, hidden_size]` of a flat row of embeddings."""
        with attending(attention):
            hidden: torch.Tensor = self._decoder(
                inputs_embeds=embeds[None], position_ids=positions[None], use_cache=False
            ).last_hidden_state[0]
        return hidden


def _check_key_values(prompt: SoftPrompt, architecture: Architecture) -> None:
    """Raise `TuningUnsupported` unless the prompt's keys and values have the shapes that attention has."""
    for part, layer in zip(prompt.key_values(), architecture.layers, strict=True):
        num_heads, _, key_dim = part.keys.shape
        if num_heads != layer.num_kv_heads:  # Falcon with multi-query
            raise TuningUnsupported(
                f"PEFT's prefix tuning makes {num_heads} keys per token and layer, and this base model has "
                f"{layer.num_kv_heads}: choose prompt tuning or P-tuning"
            )
        if (key_dim, part.values.shape[2]) != (layer.key_dim, layer.value_dim):
            raise TuningUnsupported(
                "PEFT makes keys and values of other sizes than this architecture's attention has: choose prompt "
                "tuning or P-tuning"
            )
