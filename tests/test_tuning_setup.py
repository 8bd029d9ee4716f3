"""What the tuning process beside vLLM's engine gets of its server's settings."""

from __future__ import annotations

import json
import sys

import pytest

from server.base_model_source import find_origin
from server.settings import ServeSettings
from server.tuning_setup import start_tuning_process, tuning_command


def values_of(**given):
    """The settings of a process, as they reach it."""
    settings = ServeSettings(engine="vllm", tuning_python=sys.executable, **given)
    return ServeSettings(**json.loads(json.dumps(tuning_command(settings, find_origin(settings)).settings)))


def test_there_is_no_process_without_a_python():
    """All stays as it was."""
    settings = ServeSettings(engine="vllm")
    assert start_tuning_process(settings, find_origin(settings)) is None


def test_it_has_the_same_base_model_store_and_limits(tmp_path):
    """On a device of its own, with our engine, and without what only a server needs."""
    given = {"revision": "main", "data_dir": tmp_path, "max_messages": 7, "tuning_takeover_s": 3.0, "base_names": "a,b"}
    values = values_of(**given, max_num_seqs=3, admin_key="x" * 40, vllm_args="enforce_eager=true")
    assert (values.engine, values.device, values.admin_key, values.max_num_seqs) == ("own", "cpu", None, 64)
    assert (values.revision, values.data_dir, values.max_messages) == ("main", tmp_path, 7)
    assert (values.tuning_takeover_s, values.base_names) == (3.0, ("a", "b"))


@pytest.mark.parametrize(("device", "kv_cache_gib"), [("cpu", None), ("cuda:1", 4.0)])
def test_a_gpu_has_most_of_its_memory_for_training(device, kv_cache_gib):
    """Our engine would take all of it for its KV cache, which only evaluations need here."""
    values = values_of(tuning_device=device)
    assert (values.device, values.kv_cache_gib) == (device, kv_cache_gib)


def test_the_demo_has_one_thread_there_too():
    """As in a server."""
    assert (values_of().threads, values_of(threads=3).threads) == (1, 3)
