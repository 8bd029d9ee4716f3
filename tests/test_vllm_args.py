"""Arguments of vLLM that the operator gives."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.base_model_source import find_origin
from server.engine.vllm.engine_args import FIXED, engine_args
from server.model.errors import EngineUnavailable
from server.settings import ServeSettings
from server.vllm_args import check_args, parse_args
from server.vllm_setup import build_vllm_engine


@pytest.mark.parametrize(
    "text",
    [
        '{"tensor_parallel_size": 2, "enforce_eager": true, "quantization": "awq"}',
        "tensor_parallel_size=2 enforce_eager=true quantization=awq",
        "tensor_parallel_size=2 enforce_eager=true quantization='\"awq\"'",
    ],
)
def test_arguments_are_json_or_pairs(text):
    """Values of pairs are JSON where they can be, else text."""
    assert parse_args(text) == {"tensor_parallel_size": 2, "enforce_eager": True, "quantization": "awq"}


@pytest.mark.parametrize("text", ['{"a": ', "tensor_parallel_size", "=2", "a-b=2"])
def test_other_texts_are_refused(text):
    """With what is wrong."""
    with pytest.raises(ValueError, match="JSON"):
        parse_args(text)


def test_what_our_arguments_fix_cannot_be_given():
    """Each is refused by its name."""
    for name in (*FIXED, "kv_transfer_config", "runner", "structured_outputs_config", "reasoning_parser"):
        with pytest.raises(ValueError, match=name):
            check_args({name: 1})


def test_what_an_option_sets_is_refused_with_the_option():
    """So that nobody sets one thing twice."""
    with pytest.raises(ValidationError, match="--max-context sets"):
        ServeSettings(engine="vllm", vllm_args="max_model_len=10")


def test_ours_win():
    """Options that were not given are left to vLLM."""
    args = engine_args({"model": "m", "block_size": None}, {"kv_role": "kv_both"}, {"seed": 3})
    assert args["model"] == "m" and args["seed"] == 3 and "block_size" not in args
    assert args["enable_prefix_caching"] is True and args["kv_transfer_config"] == {"kv_role": "kv_both"}


def test_without_vllm_the_way_to_it_is_named(monkeypatch):
    """The sentence has the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    settings = ServeSettings(engine="vllm")
    with pytest.raises(EngineUnavailable, match="make vllm"):
        build_vllm_engine(settings, find_origin(settings), ())


def test_our_engine_needs_no_vllm():
    """The assembly imports neither vLLM nor the file that does."""
    import sys

    import server.app

    assert server.app
    assert not {"vllm", "server.engine.vllm.start"} & set(sys.modules)


def test_the_llguidance_that_vllm_asks_for_is_too_old(monkeypatch):
    """It lets the space between JSON's parts repeat."""
    settings = ServeSettings(engine="vllm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("server.vllm_setup.version", lambda name: "1.7.6")
    with pytest.raises(EngineUnavailable, match=r"llguidance 1\.8 or newer"):
        build_vllm_engine(settings, find_origin(settings), ())
