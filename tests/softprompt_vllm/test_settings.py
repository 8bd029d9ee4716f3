"""The connector's settings, and the models and settings of vLLM that it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from softprompt_vllm.errors import InvalidInputs, Unsupported
from softprompt_vllm.requests import capture_inputs, new_capture_key, transfer_config, use_inputs
from softprompt_vllm.settings import Settings, read_settings
from softprompt_vllm.supported import check_supported
from tests.softprompt_vllm.fakes import DIGEST


def test_what_the_front_end_writes_is_read(tmp_path):
    """Every field."""
    key = new_capture_key()
    config = transfer_config(tmp_path, capture_key=key, max_host_bytes=5, max_device_bytes=6)
    assert read_settings(config["kv_connector_extra_config"]) == Settings(tmp_path, key, 5, 6)
    assert read_settings(transfer_config(tmp_path)["kv_connector_extra_config"]) == Settings(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "neither a folder"),
        ({"capture_key": "short"}, "at least 32"),
        ({"folder": "/nowhere"}, "not an existing folder"),
        ({"capture_key": "k" * 32, "store": "."}, "has 'store'"),
        ({"capture_key": "k" * 32, "max_host_bytes": "1G"}, "number from 0"),
        ({"capture_key": "k" * 32, "max_device_bytes": -1}, "number from 0"),
    ],
)
def test_wrong_settings_are_refused(given, message):
    """The engine does not start with them."""
    with pytest.raises(Unsupported, match=message):
        read_settings(given)


def test_wrong_inputs_are_refused():
    """Before an engine sees them."""
    with pytest.raises(InvalidInputs, match="at least one token"):
        use_inputs(DIGEST, 5, [], placeholder_id=0)
    with pytest.raises(InvalidInputs, match="at least one virtual"):
        use_inputs(DIGEST, 0, [1], placeholder_id=0)
    with pytest.raises(InvalidInputs, match="matrix"):
        capture_inputs("k" * 32, DIGEST, torch.zeros(5))
    with pytest.raises(InvalidInputs, match="64 lowercase"):
        capture_inputs("k" * 32, "x", torch.zeros(5, 2))


class FullAttentionSpec:
    """vLLM's, by name."""


class MambaSpec:
    """vLLM's, by name."""


def _configs(spec=FullAttentionSpec, **changes):
    values = {
        "is_encoder_decoder": False,
        "use_mla": False,
        "is_hybrid": False,
        "is_attention_free": False,
        "has_inner_state": False,
        "dtype": torch.bfloat16,
        "kv_role": "kv_both",
        "kv_load_failure_policy": "fail",
        "pipeline_parallel_size": 1,
        "data_parallel_size": 1,
        "decode_context_parallel_size": 1,
        "prefill_context_parallel_size": 1,
        "cache_dtype": "auto",
        "kv_sharing_fast_prefill": False,
        "speculative_config": None,
    } | changes
    every = SimpleNamespace(**values)
    every.model_config = every.kv_transfer_config = every.parallel_config = every.cache_config = every
    return every, SimpleNamespace(kv_cache_groups=[SimpleNamespace(kv_cache_spec=spec())])


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_what_was_proved_is_supported(dtype):
    """Full attention and sliding windows, on one engine."""
    check_supported(*_configs(cache_dtype=dtype))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_encoder_decoder": True}, "encoder-decoder"),
        ({"use_mla": True}, "MLA"),
        ({"is_hybrid": True}, "Mamba"),
        ({"has_inner_state": True}, "Mamba"),
        ({"spec": MambaSpec}, "MambaSpec"),
        ({"kv_role": "kv_consumer"}, "kv_role"),
        ({"kv_load_failure_policy": "recompute"}, "kv_load_failure_policy"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size"),
        ({"data_parallel_size": 2}, "data_parallel_size"),
        ({"decode_context_parallel_size": 2}, "decode_context_parallel_size"),
        ({"speculative_config": object()}, "speculative decoding"),
        ({"cache_dtype": "fp8"}, "fp8"),
        ({"kv_sharing_fast_prefill": True}, "fast_prefill"),
    ],
)
def test_what_was_not_proved_is_refused_by_name(changes, message):
    """Models and settings."""
    with pytest.raises(Unsupported, match=message):
        check_supported(*_configs(**changes))
