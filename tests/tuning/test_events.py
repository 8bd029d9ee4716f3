"""Events go through JSON, as stores and clients need it."""

from __future__ import annotations

import json

import pytest

from server.tuning.events import (
    Extended,
    Finished,
    RateChosen,
    RateTried,
    StepDone,
    Validated,
    Warned,
    event_from_json,
    event_to_json,
)

EVENTS = [
    RateTried(0.1, 1.5),
    RateTried(30.0, None),
    RateChosen(0.1),
    StepDone(1, 10, 2.0, 0.1, 1.0, 0.01, 0.5, 100),
    Validated(1, 1.5, 0.5, 0.25, is_best=True),
    Warned(1, "diverging", "the loss rises"),
    Extended(10, 15),
    Finished(10, "steps", 1),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event):
    """No number in it is one that JSON has no word for."""
    assert event_from_json(json.loads(json.dumps(event_to_json(event), allow_nan=False))) == event


@pytest.mark.parametrize("fields", [{}, {"type": "message"}, {"type": None}])
def test_what_is_no_event_is_refused(fields):
    with pytest.raises(ValueError, match="not an event"):
        event_from_json(fields)
