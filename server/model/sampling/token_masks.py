"""Forbids the tokens that an answer's form does not allow, before anything else reads the logits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from server.model.transfer import to_device, to_index


@torch.inference_mode()
def forbid(logits: torch.Tensor, masks: Mapping[int, NDArray[np.int32]]) -> None:
    """Set forbidden tokens of float32 `logits` `[num_rows, vocab_size]` to -infinity, in place.

    `masks` has, for each row with a form, at least `vocab_size / 32` words: bit i of word w stands for token
    32 * w + i, and is 1 where the token is allowed. Other rows stay as they are.
    """
    if not masks:
        return
    if logits.device.type == "cpu":
        _forbid_on_cpu(logits.numpy(), masks)
    else:
        forbid_on_device(logits, masks)


def _forbid_on_cpu(logits: NDArray[np.float32], masks: Mapping[int, NDArray[np.int32]]) -> None:
    """Row by row: a row of bits that are unpacked stays in the cache until it is used."""
    vocab_size = logits.shape[1]
    for row, mask in masks.items():
        is_forbidden = np.unpackbits((~mask).view(np.uint8), count=vocab_size, bitorder="little").view(np.bool_)
        np.copyto(logits[row], -np.inf, where=is_forbidden)


def forbid_on_device(logits: torch.Tensor, masks: Mapping[int, NDArray[np.int32]]) -> None:
    """All rows at once, on the device of `logits`: the words go there, and are unpacked there."""
    words = to_device(torch.from_numpy(np.stack(list(masks.values()))), logits.device)
    bits = words[:, :, None] >> torch.arange(32, dtype=torch.int32, device=logits.device)
    is_forbidden = (bits & 1 == 0).flatten(1)[:, : logits.shape[1]]
    rows = to_index(list(masks), logits.device)
    logits[rows] = logits[rows].masked_fill_(is_forbidden, float("-inf"))
