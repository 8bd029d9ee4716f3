"""Both sides in turn: what is asked of each, what is compared, and the ratios."""

import pytest

from benchmarks.beside_peft.rounds import NUM_REQUESTS, NUM_TASKS, Case, measure, table


class Sides:
    """Two sides and a clock that they move: the engine takes a second per round, PEFT one per request."""

    def __init__(self, wrong=None):
        self.now = 0.0
        self.asked = []
        self._wrong = wrong

    def time(self, work, *arguments):
        began = self.now
        result = work(*arguments)
        return self.now - began, result

    def engine(self, prompts):
        self.now += 1
        return {index: -1 if index == self._wrong else prompt[0] for index, prompt in enumerate(prompts)}

    def peft(self, prompts, indices):
        self.asked.append(list(indices))
        self.now += len(indices)
        return {index: prompts[index][0] for index in indices}

    def case(self):
        prompts = [(index,) for index in range(NUM_REQUESTS)]
        return Case("a case", lambda number: prompts, self.engine, self.peft, int.__eq__, 2.5, lambda clock: 0.9, 0.85)


def test_peft_answers_one_request_of_each_task_and_counts_for_all():
    """The first round warms up; the others ask PEFT for the next requests each."""
    sides = Sides()
    measured = measure(sides.case(), 2, sides)
    assert measured.over_peft == [NUM_REQUESTS, NUM_REQUESTS]
    assert measured.of_bound == [0.9, 0.9]
    assert [asked[0] for asked in sides.asked] == [0, NUM_TASKS, 2 * NUM_TASKS]
    assert {index % NUM_TASKS for index in sides.asked[1]} == set(range(NUM_TASKS))
    assert "| a case | share of its linear layers alone | 0.9 | 0.9 to 0.9 | 2 | 0.85 |" in table([measured])


def test_a_figure_of_other_answers_is_none():
    """A difference from PEFT ends the measurement."""
    sides = Sides(wrong=NUM_TASKS + 1)
    with pytest.raises(AssertionError, match="request 9"):
        measure(sides.case(), 2, sides)
