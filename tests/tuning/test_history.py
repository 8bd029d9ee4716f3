"""What a run remembers is bounded, keeps the shape of its curves, and comes back from a checkpoint as it was."""

from __future__ import annotations

import json

import pytest
import torch

from server.tuning.events import Finished, RateChosen, StepDone, Validated
from server.tuning.history import MAX_POINTS, History, history_from_json, history_to_json
from server.tuning.run_state import Matrices, Progress, RunTensors, pack, unpack
from server.tuning.watch import warnings
from tests.tuning.histories import remembered, steps, validated

LONG = 10 * MAX_POINTS + 3


def kept(history: History, kind: type) -> list[int]:
    return [event.step for event in history.events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def long_history() -> History:
    """A validation a step, as many as may be asked for."""
    told = steps(1 / number for number in range(1, LONG + 1))
    both = [event for step in told for event in (step, validated(step.step, step.loss))]
    return remembered([RateChosen(0.1), *both, Finished(LONG, "steps", 1)])


def test_a_short_run_is_remembered_whole():
    """Nothing is thinned out below the limit."""
    told = [RateChosen(0.1), *steps([1.0] * MAX_POINTS), Finished(MAX_POINTS, "steps", 0)]
    assert remembered(told).events == told


@pytest.mark.parametrize("kind", [StepDone, Validated])
def test_a_long_run_is_thinned_evenly(long_history, kind):
    """From the first to the last, each kind by itself."""
    assert kept(long_history, kind) == list(range(1, LONG + 1, 16))


def test_whatever_comes_once_is_kept(long_history):
    """The chosen rate and the end survive the thinning."""
    assert long_history.events[0] == RateChosen(0.1)
    assert long_history.events[-1] == Finished(LONG, "steps", 1)


def test_few_validations_are_all_kept_among_many_steps():
    """Each kind of event has a limit of its own."""
    told = steps([1.0] * LONG)
    for number in (9000, 6000, 3000):
        told.insert(number, validated(number, 1.0))
    assert kept(remembered(told), Validated) == [3000, 6000, 9000]


def test_a_history_goes_through_json_in_the_midst_of_a_window():
    """What is added afterwards comes to the same."""
    told = steps([2.0 / number for number in range(1, 25)], update_ratio=0.6)
    whole = remembered([*told, validated(24, 0.3)])
    for cut in range(len(told)):
        half = remembered(told[:cut])
        again = history_from_json(json.loads(json.dumps(history_to_json(half), allow_nan=False)))
        for event in (*told[cut:], validated(24, 0.3)):
            again.add(event)
        assert again == whole


def test_a_warning_knows_the_whole_run_and_not_only_what_is_kept():
    """The lowest loss was in steps that have been thinned out since, and only there."""
    losses = [1.0] * LONG
    losses[20:30] = [0.2] * 10
    (found,) = warnings(remembered(steps([*losses, *[1.5] * 10], num_steps=LONG)))
    assert (found.code, found.step) == ("diverging", LONG + 10)
    assert "after 0.200 at its lowest" in found.message


def test_the_longest_history_fits_into_a_checkpoint(long_history):
    """Its header has room for 100 MB."""
    matrix = torch.zeros(1)
    tensors = RunTensors(Matrices(matrix, matrix.clone()), (), {})
    data = pack("job", Progress(step=LONG, history=long_history), tensors)
    assert unpack(data, "job").progress.history == long_history
    assert len(data) < 2_000_000
