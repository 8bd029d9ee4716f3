"""Plans: checked when they are made, and the same after a way through JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tuning.errors import PlanRefused
from server.tuning.plan import (
    Initialisation,
    Method,
    Optimizer,
    Schedule,
    TuningPlan,
    plan_from_json,
    plan_to_json,
)

PLANS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(Method),
        "initialisation": st.sampled_from(Initialisation),
        "init_text": st.just("a text"),
        "optimizer": st.sampled_from(Optimizer),
        "schedule": st.sampled_from(Schedule),
        "num_virtual_tokens": st.integers(1, 4096),
        "num_steps": st.none() | st.integers(1, 1_000_000),
        "learning_rate": st.none() | st.just("auto") | st.floats(0, 100, exclude_min=True),
        "patience": st.none() | st.integers(1, 1_000_000),
        "seed": st.integers(0, 2**31 - 1),
    }
).map(lambda fields: TuningPlan(**fields))


@given(PLANS)
def test_a_plan_comes_back_from_json_as_it_was(plan):
    """Jobs keep it so, and checkpoints belong to a plan by it."""
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("num_virtual_tokens", 0),
        ("num_virtual_tokens", 4097),
        ("encoder_hidden_size", 0),
        ("num_steps", 0),
        ("num_epochs", 0.0),
        ("num_epochs", math.inf),
        ("batch_size", 0),
        ("max_micro_batch_tokens", 15),
        ("learning_rate", 0),
        ("learning_rate", 101),
        ("learning_rate", math.nan),
        ("learning_rate", "fast"),
        ("learning_rate_multiplier", 0),
        ("learning_rate_multiplier", math.inf),
        ("warmup_steps", -1),
        ("weight_decay", 1.5),
        ("max_grad_norm", 0),
        ("validate_every", 0),
        ("patience", 0),
        ("seed", -1),
        ("method", "LORA"),
        ("initialisation", "ZEROS"),
        ("optimizer", "SGD"),
        ("schedule", "STEP"),
        ("temperature", 1),
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused_by_its_name(param, value):
    with pytest.raises(PlanRefused) as caught:
        plan_from_json({param: value})
    assert caught.value.param == param
    assert str(caught.value).startswith(f"{param} ")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"num_steps": 1, "num_epochs": 1.0}, "num_epochs"),
        ({"initialisation": "TEXT"}, "init_text"),
        ({"initialisation": "TEXT", "init_text": " "}, "init_text"),
        ({"learning_rate": 0.1, "learning_rate_multiplier": 2.0}, "learning_rate_multiplier"),
        ({"learning_rate": "auto", "learning_rate_multiplier": 2.0}, "learning_rate_multiplier"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, param):
    with pytest.raises(PlanRefused) as caught:
        plan_from_json(fields)
    assert caught.value.param == param


def test_prefix_tuning_begins_at_random_where_nothing_else_was_asked_for():
    """Keys and values have no vocabulary to sample; a text is respected."""
    assert TuningPlan(method=Method.PREFIX_TUNING).initialisation is Initialisation.RANDOM
    of_text = TuningPlan(method=Method.PREFIX_TUNING, initialisation=Initialisation.TEXT, init_text="a")
    assert of_text.initialisation is Initialisation.TEXT
