"""The kinds of requests: what an engine asks each of them before it accepts one."""

from __future__ import annotations

import pytest

from server.engine.errors import RequestRefused
from server.engine.request import Generate, SamplingParams, Score


def test_a_kind_names_the_positions_and_the_tokens_that_it_needs():
    """Bias and stop tokens of a generation, the longest continuation of a scoring."""
    sampling = SamplingParams(9, stop_token_ids=frozenset({7}), logit_bias=((5, 1.0),))
    generate, score = Generate(sampling, num_choices=2), Score(((1, 2, 3), (4,)))
    assert (generate.max_new_tokens, sorted(generate.token_ids())) == (9, [5, 7])
    assert (score.max_new_tokens, list(score.token_ids())) == (3, [1, 2, 3, 4])


def test_names_of_kinds_are_those_of_the_metrics():
    """They are values of the label `operation`, so that dashboards depend on them."""
    assert (Generate.name, Score.name) == ("generate", "score")


@pytest.mark.parametrize("kind", [Generate(SamplingParams(1), num_choices=0), Score(()), Score(((1,), ()))])
def test_a_kind_refuses_numbers_that_no_engine_could_serve(kind):
    """Without a choice, a continuation, or a token of one."""
    with pytest.raises(RequestRefused, match="at least one"):
        kind.check()
