"""Settings that belong to one engine."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.settings import ServeSettings


@pytest.mark.parametrize(
    "given",
    [
        {"vllm_prefix_gib": 1.0},
        {"engine": "vllm", "attention": "exact"},
        {"engine": "vllm", "tuning_share": 0.1},
        {"engine": "vllm", "weights": "int8"},
    ],
)
def test_a_setting_of_the_other_engine_is_refused(given):
    """Nothing is ignored without a word."""
    with pytest.raises(ValidationError, match="is no setting of the engine"):
        ServeSettings(**given)
