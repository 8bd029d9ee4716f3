"""The order of examples: the very permutations of `random.shuffle`, made a little at a time."""

from __future__ import annotations

import random

import pytest

from server.tuning.order import ExampleOrder


def expected(num_examples: int, batch_size: int, step: int) -> list[int]:
    """A step of runs since the first release: jobs that were interrupted go on in it."""
    found = []
    for place in range(step * batch_size, (step + 1) * batch_size):
        epoch, index = divmod(place, num_examples)
        order = list(range(num_examples))
        random.Random(f"3 {epoch}").shuffle(order)
        found.append(order[index])
    return found


@pytest.mark.parametrize(("num_examples", "batch_size"), [(1, 1), (1, 5), (7, 3), (10, 25), (13, 13), (40, 8)])
def test_the_order_is_that_of_whole_shuffles(num_examples, batch_size):
    """From the beginning, from the middle of a run, and back to the first steps, as a sweep of rates goes."""
    order = ExampleOrder(num_examples, batch_size, 3)
    for step in (*range(30), 3, 0, 1, 2):
        assert order.of_step(step) == expected(num_examples, batch_size, step)
    resumed = ExampleOrder(num_examples, batch_size, 3, first_step=11)
    for step in range(11, 40):
        assert resumed.of_step(step) == expected(num_examples, batch_size, step)


class CountingRandom(random.Random):
    """Counts what a shuffle draws."""

    num_draws = 0

    def randrange(self, *arguments: int) -> int:
        CountingRandom.num_draws += 1
        return super().randrange(*arguments)

    def shuffle(self, items: list) -> None:
        CountingRandom.num_draws += len(items)
        super().shuffle(items)


@pytest.mark.parametrize("first_step", [0, 40])
def test_no_step_makes_more_of_a_permutation_than_it_takes_examples(first_step, monkeypatch):
    """Not even the first of an epoch: a step of a million examples costs what one of a hundred does."""
    monkeypatch.setattr(random, "Random", CountingRandom)
    order = ExampleOrder(1000, 8, 3, first_step)
    for step in range(first_step, first_step + 500):
        CountingRandom.num_draws = 0
        order.of_step(step)
        assert CountingRandom.num_draws <= 8
