"""Plans: checked when they are made, and the same after a way through JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tuning.errors import PlanRefused
from server.tuning.plan import (
    Defaults,
    Initialisation,
    Method,
    Optimizer,
    Schedule,
    TuningPlan,
    new_plan,
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
        "max_extensions": st.none() | st.integers(0, 0),
        "defaults": st.sampled_from(Defaults),
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
        ("max_extensions", -1),
        ("max_extensions", 11),
        ("defaults", "third"),
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
        ({"defaults": "first", "max_extensions": 1}, "max_extensions"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, param):
    with pytest.raises(PlanRefused) as caught:
        plan_from_json(fields)
    assert caught.value.param == param


OF_4B55C5E = {
    "method": "PREFIX_TUNING", "initialisation": "RANDOM", "init_text": None, "num_virtual_tokens": 16,
    "encoder_hidden_size": None, "num_steps": None, "num_epochs": None, "batch_size": 16, "max_micro_batch_tokens": 512,
    "optimizer": "ADAMW", "learning_rate": None, "learning_rate_multiplier": None, "schedule": "LINEAR",
    "warmup_steps": 10, "weight_decay": 0.0, "max_grad_norm": 1.0, "validate_every": None, "patience": 6, "seed": 0,
}  # fmt: skip
"""A stored plan of release 4b55c5e with default settings."""


def test_a_stored_plan_of_an_earlier_release_keeps_its_rules():
    """Its length, its end and its fields, which job digests cover, are those of that release."""
    plan = plan_from_json(OF_4B55C5E)
    assert (plan.defaults, plan.steps_for(100), plan.steps_for(2000), plan.max_extensions) == (
        Defaults.FIRST, 200, 375, 0,
    )  # fmt: skip
    assert plan_to_json(plan) == OF_4B55C5E
    assert plan_from_json({**OF_4B55C5E, "initialisation": "SAMPLE_VOCAB"}).initialisation is Initialisation.RANDOM


def test_a_new_plan_takes_three_epochs_within_bounds_and_may_be_extended():
    """At least 400 steps and at most 2,000, and two extensions; a given length has none unless it asks for them."""
    plan = new_plan({})
    assert [plan.steps_for(num_examples) for num_examples in (10, 4_000, 100_000)] == [400, 750, 2000]
    assert plan.max_extensions == 2
    assert new_plan({"num_steps": 7}).max_extensions == new_plan({"num_epochs": 1.0}).max_extensions == 0
    assert new_plan({"num_steps": 7, "max_extensions": 1}).max_extensions == 1
    assert plan_to_json(plan) | {"defaults": "second", "max_extensions": 2} == plan_to_json(plan)


def test_the_rules_of_a_plan_are_not_a_hyperparameter():
    """A client cannot ask for those of an earlier release."""
    with pytest.raises(PlanRefused) as caught:
        new_plan({"defaults": "first"})
    assert caught.value.param == "defaults"


def test_prefix_tuning_begins_with_tokens():
    """A text is respected, and implies the initialisation TEXT; random numbers must be asked for."""
    start = {method: new_plan({"method": method}).initialisation for method in Method}
    assert start == dict.fromkeys(Method, Initialisation.SAMPLE_VOCAB)
    assert new_plan({"method": "PREFIX_TUNING", "init_text": "a"}).initialisation is Initialisation.TEXT
    random = new_plan({"method": "PREFIX_TUNING", "initialisation": "RANDOM"})
    assert random.initialisation is Initialisation.RANDOM


def test_a_text_without_effect_is_refused():
    """P_TUNING always begins at random, and another initialisation does not read the text."""
    for fields in ({"method": "P_TUNING", "init_text": "a"}, {"initialisation": "RANDOM", "init_text": "a"}):
        with pytest.raises(PlanRefused) as caught:
            new_plan(fields)
        assert caught.value.param == "init_text"
