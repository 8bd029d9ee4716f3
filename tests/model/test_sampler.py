"""Each sampling parameter by itself, and the promise that a row is chosen alone."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.model.sampling.penalties import penalise
from server.model.sampling.sampler import choose, most_likely
from server.model.sampling.sampling_row import SamplingRow
from tests.devices import DEVICE
from tests.model.row_by_row import row, sample_row

pytestmark = pytest.mark.usefixtures("tensors_on_device")
LOGITS = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0]


def sample(logits: torch.Tensor, rows: list[SamplingRow]) -> list[int]:
    return choose(logits, most_likely(logits), rows).tolist()


def pick(logits=LOGITS, **changes) -> int:
    return sample(torch.tensor([logits]), [row(**changes)])[0]


def picked(logits=LOGITS, count=300, **changes) -> set[int]:
    """Every token that some seed picks."""
    rows = [row(seed=seed, **changes) for seed in range(count)]
    return set(sample(torch.tensor([logits]), rows))


def penalised(changes, logits=LOGITS) -> list[float]:
    """The logits after penalties, bias and bans."""
    changed = torch.tensor([logits])
    penalise(changed, [row(**changes)])
    return changed[0].tolist()


# --- the distribution -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, 6),
        ({"temperature": 0.5}, 6),
        ({"temperature": 2.0}, 6),
        ({"top_k": 3}, 3),
        ({"temperature": 1.7, "top_k": 4}, 4),
    ],
)
def test_frequencies_are_those_of_the_softmax(changes, allowed):
    """Chi-squared over 6,000 seeds stays below what chance exceeds once in ten thousand."""
    count = 6000
    rows = [row(seed=seed, **changes) for seed in range(count)]
    seen = Counter(sample(torch.tensor([LOGITS]), rows))
    weights = [math.exp(value / changes.get("temperature", 1.0)) for value in LOGITS[:allowed]]
    expected = [count * weight / sum(weights) for weight in weights]
    assert set(seen) <= set(range(allowed))
    chi_squared = sum((seen[token] - value) ** 2 / value for token, value in enumerate(expected))
    assert chi_squared < 25.75  # five degrees of freedom, p = 1e-4


def test_a_sequence_of_draws_is_as_random_as_many_seeds():
    """One seed and successive output positions give independent numbers too."""
    rows = [row(seed=5, num_output=position) for position in range(4000)]
    seen = Counter(sample(torch.zeros(1, 4), rows))
    assert all(abs(seen[token] - 1000) < 150 for token in range(4))


def test_choices_of_one_seed_are_independent():
    rows = [row(seed=5, choice=choice) for choice in range(4000)]
    seen = Counter(sample(torch.zeros(1, 4), rows))
    assert all(abs(seen[token] - 1000) < 150 for token in range(4))


# --- alone and in a batch ---------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_answer_in_any_batch():
    generator = torch.Generator(DEVICE).manual_seed(0)
    logits = torch.randn(20, 30, generator=generator) * 2
    rows = [
        row(
            row=index,
            seed=index * 7,
            temperature=0.0 if index % 5 == 0 else 1.3,
            top_p=0.9 if index % 2 else 1.0,
            top_k=index % 4 * 5,
            repetition_penalty=1.2 if index % 6 == 0 else 1.0,
            prompt=(1, 2, 3),
        )
        for index in range(20)
    ]
    together = sample(logits, rows)
    backwards = sample(logits, rows[::-1])[::-1]
    alone = [sample(logits[index : index + 1], [dataclasses.replace(rows[index], row=0)])[0] for index in range(20)]
    assert together == alone
    assert together == backwards


TOKENS = st.lists(st.integers(0, 39), max_size=12).map(tuple)


@st.composite
def sampling_rows(draw) -> SamplingRow:
    """Any parameters that the door lets in, over six rows of forty tokens."""
    return row(
        row=draw(st.integers(0, 5)),
        temperature=draw(st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.0])),
        top_p=draw(st.sampled_from([1.0, 0.95, 0.5, 1e-6])),
        top_k=draw(st.sampled_from([0, 1, 3, 17, 1000])),
        min_p=draw(st.sampled_from([0.0, 0.05, 1.0])),
        seed=draw(st.integers(-(2**63), 2**63)),
        choice=draw(st.integers(0, 127)),
        num_output=draw(st.integers(0, 5000)),
        prompt=draw(TOKENS),
        output=draw(TOKENS),
        forbidden=frozenset(draw(TOKENS)),
        logit_bias=tuple(draw(st.lists(st.tuples(st.integers(0, 39), st.floats(-100, 100)), max_size=5))),
        presence_penalty=draw(st.sampled_from([0.0, 0.0, -2.0, 0.7])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.0, -2.0, 0.3])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 0.5, 1.3])),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.1, 1.0, 8.0]), st.lists(sampling_rows(), min_size=1, max_size=12))
def test_a_batch_gets_what_the_definition_gives_each_row_alone(seed, spread, rows):
    """Ties too: logits are rounded, so that many are alike."""
    logits = torch.randn(6, 40, generator=torch.Generator(DEVICE).manual_seed(seed)) * spread
    logits = (logits * 4).round() / 4
    assert sample(logits, rows) == [sample_row(logits[one.row], one) for one in rows]


@pytest.mark.parametrize("changes", [{}, {"top_p": 0.9}, {"top_k": 50}, {"min_p": 0.01}])
def test_a_large_vocabulary_is_drawn_from_in_parts(changes):
    """More numbers than are summed at once, and every row still gets what it gets alone."""
    logits = torch.randn(5, 40_000, generator=torch.Generator(DEVICE).manual_seed(1)) * 3
    rows = [row(row=index % 5, seed=index, temperature=0.8, **changes) for index in range(8)]
    assert sample(logits, rows) == [sample_row(logits[one.row], one) for one in rows]


def test_several_choices_may_be_drawn_from_one_row():
    results = sample(torch.tensor([LOGITS]), [row(choice=choice, seed=3) for choice in range(40)])
    assert len(set(results)) > 1


def test_a_negative_or_huge_seed_is_as_good_as_any():
    assert pick(seed=-1) == pick(seed=2**64 - 1)
    assert 0 <= pick(seed=2**63) < 6


def test_the_batch_is_left_as_it_was():
    logits = torch.tensor([LOGITS])
    before = logits.clone()
    sample(logits, [row(logit_bias=((1, 5.0),), forbidden=frozenset({0}), temperature=0.0)])
    assert torch.equal(logits, before)


# --- each parameter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_temperature_zero_takes_the_most_likely(temperature):
    assert picked(temperature=temperature, count=30) == {0}


def test_a_tiny_temperature_is_as_good_as_greedy():
    assert picked(temperature=0.01, count=100) == {0}


def test_a_huge_temperature_makes_all_alike():
    assert picked(temperature=1000.0) == set(range(6))


@pytest.mark.parametrize(("top_k", "allowed"), [(1, {0}), (2, {0, 1}), (6, set(range(6))), (100, set(range(6)))])
def test_top_k_keeps_the_most_likely(top_k, allowed):
    assert picked(top_k=top_k, temperature=5.0) == allowed


def test_top_k_among_equals_keeps_exactly_k():
    assert picked([1.0, 1.0, 1.0, 1.0], top_k=2) == {0, 1}


@pytest.mark.parametrize(
    ("top_p", "allowed"),
    [(1e-9, {0}), (0.5, {0}), (0.51, {0, 1}), (0.75, {0, 1}), (0.76, {0, 1, 2}), (1.0, {0, 1, 2, 3})],
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p, allowed):
    """Probabilities are 1/2, 1/4, 1/8 and 1/8; the token that crosses the border stays."""
    logits = [math.log(p) for p in (0.5, 0.25, 0.125, 0.125)]
    assert picked(logits, top_p=top_p) == allowed


def test_top_p_counts_within_what_top_k_kept():
    """Of 1/2 and 1/4 the first is two thirds."""
    logits = [math.log(p) for p in (0.5, 0.25, 0.125, 0.125)]
    assert picked(logits, top_k=2, top_p=0.6) == {0}
    assert picked(logits, top_k=2, top_p=0.7) == {0, 1}


@pytest.mark.parametrize(("min_p", "allowed"), [(0.2, {0, 1, 2, 3}), (0.26, {0, 1}), (0.51, {0}), (1.0, {0})])
def test_min_p_is_relative_to_the_most_likely(min_p, allowed):
    logits = [math.log(p) for p in (0.5, 0.25, 0.125, 0.125)]
    assert picked(logits, min_p=min_p) == allowed


def test_truncation_keeps_proportions():
    rows = [row(seed=seed, top_k=2) for seed in range(3000)]
    logits = torch.tensor([[math.log(p) for p in (0.1, 0.6, 0.3)]])
    seen = Counter(sample(logits, rows))
    assert set(seen) == {1, 2}
    assert abs(seen[1] - 2000) < 110


def test_forbidden_tokens_are_never_chosen():
    assert picked(forbidden=frozenset({0, 1, 5}), temperature=5.0) == {2, 3, 4}
    assert pick(forbidden=frozenset({0}), temperature=0.0) == 1


def test_a_forbidden_token_is_not_brought_back_by_bias():
    assert pick(forbidden=frozenset({0}), logit_bias=((0, 100.0),), temperature=0.0) == 1


def test_a_bias_of_a_hundred_forces_and_forbids():
    assert picked(logit_bias=((4, 100.0),)) == {4}
    assert picked(logit_bias=((0, -100.0), (1, -100.0)), temperature=2.0) == {2, 3, 4, 5}
    assert pick(logit_bias=((4, 100.0),), temperature=0.0) == 4


def test_biases_of_one_token_add_up():
    assert penalised({"logit_bias": ((1, 0.5), (1, 0.25))})[1] == pytest.approx(1.75)


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    """Prompt and output count alike, once a token however often it stands there."""
    got = penalised({"repetition_penalty": 2.0, "prompt": (0, 0, 4), "output": (1, 4)})
    assert got == pytest.approx([1.0, 0.5, 0.5, 0.0, -2.0, -3.0])


def test_a_repetition_penalty_below_one_favours_what_was_said():
    got = penalised({"repetition_penalty": 0.5, "prompt": (1, 4)})
    assert got == pytest.approx([2.0, 2.0, 0.5, 0.0, -0.5, -3.0])


def test_presence_penalty_counts_output_tokens_once():
    got = penalised({"presence_penalty": 0.7, "prompt": (0,), "output": (1, 1, 4)})
    assert got == pytest.approx([2.0, 0.3, 0.5, 0.0, -1.7, -3.0])


def test_frequency_penalty_counts_output_tokens_each_time():
    got = penalised({"frequency_penalty": 0.5, "prompt": (0,), "output": (1, 1, 4)})
    assert got == pytest.approx([2.0, 0.0, 0.5, 0.0, -1.5, -3.0])


def test_penalties_together():
    """Repetition first, then presence and frequency, then bias: ((1.0 / 2) - 0.1 - 2 * 0.2) + 3."""
    got = penalised(
        {
            "repetition_penalty": 2.0,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "output": (1, 1),
            "logit_bias": ((1, 3.0),),
        }
    )
    assert got == pytest.approx([2.0, 3.0, 0.5, 0.0, -1.0, -3.0])


def test_a_negative_penalty_favours_what_was_said():
    assert pick(presence_penalty=-2.0, output=(2,), temperature=0.0) == 2


def test_penalties_change_a_greedy_choice():
    assert pick(frequency_penalty=0.6, output=(0, 0), temperature=0.0) == 1


# --- numbers that are none --------------------------------------------------------------------------------------------


def test_a_row_that_is_not_finite_has_some_token_and_harms_no_neighbour():
    nan, infinity = float("nan"), float("inf")
    logits = torch.tensor([LOGITS, [nan] * 6, [infinity, 0.0, infinity, 0.0, nan, 1.0], [-infinity] * 6, LOGITS])
    for changes in ({"temperature": 0.0, "repetition_penalty": 1.1, "output": (1,)}, {}, {"top_p": 0.5}):
        rows = [row(row=index, seed=index, **changes) for index in range(5)]
        tokens = sample(logits, rows)
        assert all(0 <= token < 6 for token in tokens)
        assert [tokens[0], tokens[4]] == sample(logits, [rows[0], rows[4]])


def test_a_batch_that_asks_for_nothing_gets_nothing():
    assert sample(torch.empty(0, 5), []) == []
    assert sample(torch.zeros(2, 5), []) == []


def test_tokens_that_the_model_rules_out_are_never_chosen():
    assert picked([0.0, -float("inf"), 0.0]) == {0, 2}


def test_a_lone_token_of_all_probability_is_chosen_wherever_it_stands():
    for token in range(5):
        logits = [-float("inf")] * 5
        logits[token] = 0.0
        assert picked(logits, count=20) == {token}
