"""What the tuning process beside vLLM's engine gets of its server's settings."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from prompts_store.store import Store
from server.base_model_source import find_origin
from server.jobs.process.child import TuningChild
from server.jobs.process.tuner import ProcessTuner
from server.settings import ServeSettings
from server.store_follower import StoreFollower
from server.tuning_setup import TunerParts, build_tuner, start_tuning_process, tuning_command
from tests.fakes.checkpoints import BASE
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import COSTS
from tests.jobs.process.commands import scripted

ENGINE = ScriptedEngine(lambda *_: (), frozenset())


def chosen():
    """vLLM's engine, as far as a tuner asks for it."""
    tokenizer = byte_level()
    return SimpleNamespace(
        tuning=None, engine=ENGINE, base=BASE, tokenizer=tokenizer, eos_token_ids=tokenizer.eos_token_ids()
    )


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


def test_what_jobs_must_fit_into_is_vllms_and_the_memory_of_the_process(tmp_path):
    """The server checks requests itself, by its own engine and by what the process has said."""
    costs = asdict(COSTS)
    with Store.open(str(tmp_path / "prompts.db")) as store:
        settings = ServeSettings(engine="vllm", tuning_python=sys.executable, tuning_memory_gib=1.0)
        parts = TunerParts(settings, "tiny", store, StoreFollower(store), None)
        child = TuningChild(scripted(fingerprint=BASE.fingerprint, costs=costs))
        tuner = build_tuner(parts, chosen(), child)
        assert isinstance(tuner, ProcessTuner)
        assert (tuner.host.costs, tuner.host.memory_bytes, tuner.host.engine) == (COSTS, 2**30, ENGINE)
        assert tuner.preparer.end_token_id == byte_level().eos_token_id
        child.end()


def test_without_an_end_token_there_is_no_process(tmp_path, monkeypatch):
    """No answer could learn where to stop."""
    with Store.open(str(tmp_path / "prompts.db")) as store:
        parts = TunerParts(ServeSettings(engine="vllm"), "tiny", store, StoreFollower(store), None)
        child = TuningChild(scripted(fingerprint=BASE.fingerprint))
        assert build_tuner(parts, chosen(), None) is None
        monkeypatch.setattr("server.tuning_setup.end_token_id", lambda *_: None)
        assert build_tuner(parts, chosen(), child) is None
        assert child._process.returncode is not None
