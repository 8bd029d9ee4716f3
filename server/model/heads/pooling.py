"""One vector of the hidden states of a sequence, as a task for FEATURE_EXTRACTION wants it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prompts_store.manifest import Pooling
from server.model.heads.head import Rows


class PoolingHead:
    """The hidden state of the last token or of the first position, or the mean over the text."""

    def __init__(self, pooling: Pooling) -> None:
        self._pooling = pooling

    @property
    def rows(self) -> Rows:
        """See `Head`."""
        return Rows.LAST if self._pooling is Pooling.LAST else Rows.ALL

    @property
    def num_bytes(self) -> int:
        """See `Head`."""
        return 0

    def num_read(self, token_ids: Sequence[int]) -> int:
        """All tokens: nothing is taken for padding."""
        return len(token_ids)

    def __call__(self, hidden: torch.Tensor, num_virtual: int) -> torch.Tensor:
        """`[1, hidden_size]`. The first position of an encoder is that of a virtual token, as PEFT returns it."""
        match self._pooling:
            case Pooling.FIRST:
                return hidden[:1].float()
            case Pooling.LAST:
                return hidden[-1:].float()
            case Pooling.MEAN:
                return hidden[num_virtual:].float().mean(dim=0, keepdim=True)
