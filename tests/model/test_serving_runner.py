"""When decode steps are recorded."""

import pytest
import torch

from server.model.gpu.attention import TritonAttention
from server.model.paged_attention import PagedAttention
from server.model.serving_runner import can_record


@pytest.mark.parametrize(
    ("device", "attention", "expected"),
    [
        ("cuda", TritonAttention, True),
        ("cuda:1", TritonAttention, True),
        ("cuda", PagedAttention, False),
        ("cpu", PagedAttention, False),
    ],
)
def test_only_attention_that_keeps_to_what_is_filled_is_recorded(device, attention, expected):
    """A GPU without Triton attends exactly: a recording of that would gather the whole context of every row."""
    assert can_record(torch.device(device), attention) is expected
