"""The positions that transformers gives to a sequence, as its encoders count them.

BERT counts from 0. RoBERTa and its kin count from behind the padding token's id; where they see token ids, padding
tokens of the text all have the position of padding, and are not counted. Rows of embeddings are always counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from server.model.encoder.batch import EncoderInput

_COUNTS_FROM_PADDING = "create_position_ids_from_inputs_embeds"


@dataclass(frozen=True, slots=True)
class Positions:
    """How an encoder counts. `padding_id` is None where it counts from 0."""

    padding_id: int | None

    @property
    def first(self) -> int:
        """The position of the first row of a sequence."""
        return 0 if self.padding_id is None else self.padding_id + 1

    def of(self, sequence: EncoderInput) -> Sequence[int]:
        """The positions of a sequence's rows."""
        start = self.first + sequence.num_key_values
        if sequence.num_virtual_rows or self.padding_id is None or self.padding_id not in sequence.token_ids:
            return range(start, start + sequence.num_rows)
        positions = []
        for token_id in sequence.token_ids:
            is_text = token_id != self.padding_id
            positions.append(start if is_text else self.padding_id)
            start += is_text
        return positions


def read_positions(model: PreTrainedModel) -> Positions:
    """How this encoder counts."""
    counting = next((module for module in model.modules() if hasattr(module, _COUNTS_FROM_PADDING)), None)
    padding_id = getattr(counting, "padding_idx", None)
    return Positions(padding_id if isinstance(padding_id, int) else None)
