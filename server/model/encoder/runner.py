"""Runs one batch of sequences through an encoder: token ids and prefixes in, hidden states out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from server.model.base_model import LoadedModel
from server.model.cpu.packing import JointLinear, PackedLinear, padded_rows
from server.model.encoder.attention import encoding
from server.model.encoder.batch import EncoderInput, Group, grouped
from server.model.encoder.padded_attention import choose_context
from server.model.encoder.positions import read_positions
from server.model.encoder.prefixes import MAX_PREFIX_BYTES, DevicePrefixes
from server.model.prefix import PrefixKind
from server.model.transfer import to_index


class Encoder(Protocol):
    """The encoder as the engine uses it. The engine's tests run over a scripted one."""

    @property
    def prefixes(self) -> DevicePrefixes:
        """The soft prompts on the device."""

    def forward(self, inputs: Sequence[EncoderInput]) -> list[torch.Tensor]:
        """The hidden states of each sequence, `[num_rows, hidden_size]`: rows of an embeddings prefix come first."""

    def check_device(self) -> None:
        """Raise the device's error if the device is unusable for the rest of the process."""


class EncoderRunner:
    """The runner over a transformers encoder. Sequences of a batch never see each other."""

    def __init__(self, loaded: LoadedModel, max_prefix_bytes: int = MAX_PREFIX_BYTES) -> None:
        self._model = loaded.model
        self._device = loaded.device
        self._positions = read_positions(loaded.model)
        self.prefixes = DevicePrefixes(loaded.device, loaded.dtype, max_prefix_bytes)
        self._is_packed = any(isinstance(module, (PackedLinear, JointLinear)) for module in loaded.model.modules())

    @torch.inference_mode()
    def forward(self, inputs: Sequence[EncoderInput]) -> list[torch.Tensor]:
        """See `Encoder`."""
        groups, order = self._lay_out(inputs)
        ordered = [inputs[index] for index in order]
        num_rows = groups[-1].last
        num_computed = padded_rows(num_rows) if self._is_packed else num_rows
        positions = [position for one in ordered for position in self._positions.of(one)]
        positions += [self._positions.first] * (num_computed - num_rows)
        with encoding(choose_context(groups, self._device)):
            output = self._model(
                inputs_embeds=self._embed(ordered, num_computed)[None],
                position_ids=to_index(positions, self._device)[None],
            )
        states: torch.Tensor = output.last_hidden_state[0, :num_rows]
        parts = torch.split(states, [one.num_rows for one in ordered])
        return [part for _, part in sorted(zip(order, parts, strict=True), key=lambda pair: pair[0])]

    def check_device(self) -> None:
        """See `Encoder`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _lay_out(self, inputs: Sequence[EncoderInput]) -> tuple[list[Group], list[int]]:
        """The groups, and the index of the input at each place of the batch."""
        groups: list[Group] = []
        order: list[int] = []
        for indices in grouped(inputs):
            first = groups[-1].last if groups else 0
            prefixes = [inputs[index].prefix for index in indices]
            key_values = tuple(
                self.prefixes.get(prefix)
                for prefix in prefixes
                if prefix is not None and prefix.kind is PrefixKind.KEY_VALUES
            )
            groups.append(Group(first, len(indices), inputs[indices[0]].num_rows, key_values))
            order += indices
        return groups, order

    def _embed(self, ordered: Sequence[EncoderInput], num_rows: int) -> torch.Tensor:
        """Word embeddings `[num_rows, embedding_size]`, zeros behind the last sequence."""
        ids = to_index([token_id for one in ordered for token_id in one.token_ids], self._device)
        words = self._model.get_input_embeddings()(ids)
        texts = torch.split(words, [len(one.token_ids) for one in ordered])
        rows: list[torch.Tensor] = []
        for one, text in zip(ordered, texts, strict=True):
            if one.prefix is not None and one.num_virtual_rows:
                rows.append(self.prefixes.get(one.prefix))
            rows.append(text)
        missing = num_rows - sum(map(len, rows))
        return torch.cat([*rows, words.new_zeros(missing, words.shape[1])])
