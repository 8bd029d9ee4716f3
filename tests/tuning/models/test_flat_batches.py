"""Micro-batches: flat, cut by positions."""

from __future__ import annotations

import torch

from server.tuning.encoding import EncodedExample
from server.tuning.models.flat_batches import micro_batches
from server.tuning.plan import TuningPlan

CPU = torch.device("cpu")


def example(first: int, num_prompt: int, num_completion: int = 1) -> EncodedExample:
    """Tokens that count up from `first`."""
    tokens = tuple(range(first, first + num_prompt + num_completion))
    return EncodedExample(tokens[:num_prompt], tokens[num_prompt:])


def test_examples_lie_end_to_end_without_padding():
    """Each target is predicted by the row before it, and belongs to its example."""
    (batch,) = micro_batches([example(50, 2, 2), example(10, 2)], num_virtual_tokens=4, max_tokens=99, device=CPU)
    assert batch.token_ids.tolist() == [10, 11, 12, 50, 51, 52, 53]
    assert batch.positions.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert batch.lengths == (3, 4)
    assert batch.targets.tolist() == [12, 52, 53]
    assert batch.token_ids[batch.rows + 1].tolist() == batch.targets.tolist()
    assert batch.owners.tolist() == [0, 1, 1]


def test_virtual_tokens_count_once_per_micro_batch():
    """A micro-batch has at most `max_tokens` positions, except that of one longer example."""
    examples = [example(0, 4) for _ in range(5)] + [example(0, 40)]
    found = list(micro_batches(examples, num_virtual_tokens=10, max_tokens=20, device=CPU))
    assert [batch.lengths for batch in found] == [(5, 5), (5, 5), (5,), (41,)]


def test_no_micro_batch_exceeds_what_the_plan_says():
    """Memory and time are checked for that number before a run."""
    plan = TuningPlan(num_virtual_tokens=10, batch_size=6, max_micro_batch_tokens=64)
    for longest in (3, 9, 90):
        examples = [example(0, longest - 1) for _ in range(plan.batch_size)]
        found = micro_batches(examples, num_virtual_tokens=10, max_tokens=64, device=CPU)
        assert max(10 + sum(batch.lengths) for batch in found) <= plan.max_positions(longest)
