"""Default generation parameters: types and ranges."""

from __future__ import annotations

import pytest

from prompts_store.errors import InvalidManifest
from prompts_store.generation_defaults import parse_defaults

REFUSED: dict[str, list[object]] = {
    "max_tokens": [0, -1, True, 1.0, "1", 2**31],
    "min_tokens": [-1, False, 0.0],
    "temperature": [-0.1, 2.1, True, "1", float("nan"), float("inf"), []],
    "top_p": [-0.1, 1.01],
    "top_k": [-2, 1.0],
    "min_p": [-0.1, 1.1],
    "seed": [2**63, -(2**63) - 1, 1.0, True],
    "stop_token_ids": [1, [-1], [True], [1.0], [2**31], list(range(65)), "1"],
    "ignore_eos": [0, "false"],
    "presence_penalty": [-2.1, 2.1],
    "frequency_penalty": [-2.1, 10**400],
    "repetition_penalty": [0, 10.1, -1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_a_wrong_type_or_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidManifest) as refused:
        parse_defaults({name: value})
    assert refused.value.param == f"manifest.defaults.{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 1),
        ("min_tokens", 0),
        ("temperature", 2),
        ("top_p", 1e-9),
        ("top_k", 0),
        ("min_p", 1),
        ("seed", -(2**63)),
        ("stop_token_ids", []),
        ("ignore_eos", True),
        ("presence_penalty", -2),
        ("repetition_penalty", 10),
    ],
)
def test_the_ends_of_the_ranges_are_accepted(name: str, value: object) -> None:
    assert parse_defaults({name: value}) == {name: value}


def test_min_tokens_may_not_exceed_max_tokens() -> None:
    assert parse_defaults({"min_tokens": 5, "max_tokens": 5})
    with pytest.raises(InvalidManifest):
        parse_defaults({"min_tokens": 6, "max_tokens": 5})


def test_null_is_as_good_as_none() -> None:
    assert parse_defaults({"temperature": None}) == parse_defaults({}) == parse_defaults(None) == {}
