"""One engine for the tests in this process: vLLM has one per process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vllm.engines import Engine
from tests.vllm.worlds import make_world

NUM_KEPT = 20
_BLOCK_BYTES = 3 * 2 * 32 * 2 * 32 * 4
"""Of one block of 32 slots: three layers, keys and values, two heads of size 32, in float32."""


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """A tiny Llama, with room for twenty soft prompts of one block."""
    world = make_world("llama", tmp_path_factory.mktemp("llama"), ("prompt", "p", "prefix"))
    return Engine(world, max_host_bytes=NUM_KEPT * _BLOCK_BYTES)


@pytest.fixture
def fresh(engine):
    """The engine without cached blocks and without soft prompts, and with nothing open before and after."""
    assert engine.llm.reset_prefix_cache(reset_connector=True)
    yield engine
    assert engine.half.residency.num_open == 0
    assert not engine.half._verdicts and not engine.half._capturing
    assert not engine.worker._partial


@pytest.fixture
def captured(fresh):
    """The engine with every soft prompt at hand."""
    fresh.capture(fresh.world.tasks)
    return fresh


@pytest.fixture
def task(captured):
    """The task that lies are told about."""
    return captured.world.tasks[0]


@pytest.fixture
def renamed(engine):
    """A task of the same rows under another digest, which is not captured."""
    return replace(engine.world.tasks[0], digest="e" * 64)
