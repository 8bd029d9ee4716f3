"""Forbidden tokens: bits of a mask become -infinity, in place, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from server.model.sampling.token_masks import forbid, forbid_on_device


@pytest.mark.parametrize("how", [forbid, forbid_on_device], ids=["on a CPU", "on any device"])
@pytest.mark.parametrize("vocab_size", [5, 32, 77])
def test_the_bits_say_which_tokens_stay(how, vocab_size):
    """Other rows stay as they are, to the bit."""
    rng = np.random.default_rng(vocab_size)
    logits = torch.from_numpy(rng.normal(size=(4, vocab_size)).astype(np.float32))
    before = logits.clone()
    masks = {row: rng.integers(-(2**31), 2**31, size=-(-vocab_size // 32) + 1, dtype=np.int32) for row in (2, 0)}
    how(logits, masks)
    for row, mask in masks.items():
        for token in range(vocab_size):
            is_allowed = (int(mask[token // 32]) >> (token % 32)) & 1
            assert float(logits[row, token]) == (float(before[row, token]) if is_allowed else -np.inf)
    assert torch.equal(logits[[1, 3]], before[[1, 3]])


def test_logits_that_were_made_in_inference_mode_can_be_masked():
    """As a runner's are."""
    with torch.inference_mode():
        logits = torch.zeros(1, 3)
    forbid(logits, {0: np.array([2], np.int32)})
    assert logits.tolist() == [[-np.inf, 0.0, -np.inf]]
