"""Settings that belong to one engine."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from server.settings import ServeSettings


@pytest.mark.parametrize(
    "given",
    [
        {"vllm_prefix_gib": 1.0},
        {"capture_on_promote": True},
        {"engine": "vllm", "attention": "exact"},
        {"engine": "vllm", "tuning_share": 0.1},
        {"engine": "vllm", "weights": "int8"},
    ],
)
def test_a_setting_of_the_other_engine_is_refused(given):
    """Nothing is ignored without a word."""
    with pytest.raises(ValidationError, match="is no setting of the engine"):
        ServeSettings(**given)


def test_a_process_that_tunes_is_for_vllm_alone():
    """Our engine tunes on its own weights."""
    for name, value in (("tuning_python", sys.executable), ("tuning_device", "cpu")):
        with pytest.raises(ValidationError, match=f"{name} is no setting of the engine 'own'"):
            ServeSettings(**{name: value})


@pytest.mark.parametrize("given", [{"tuning_device": "cuda:1"}, {"tuning_memory_gib": 2.0}, {"tuning_checkpoint_s": 5}])
def test_settings_of_jobs_need_the_process_that_runs_them(given):
    """Without it vLLM's engine has no jobs."""
    with pytest.raises(ValidationError, match="without tuning_python"):
        ServeSettings(engine="vllm", **given)
    assert ServeSettings(engine="vllm", tuning_python=sys.executable, **given)


def test_the_python_must_be_a_program(tmp_path):
    """A folder or a missing file is refused at once."""
    for path in (tmp_path, tmp_path / "python"):
        with pytest.raises(ValidationError, match="is no program that can be run"):
            ServeSettings(engine="vllm", tuning_python=path)
