"""The contract of the port, on vLLM's engine over a scripted backend."""

from __future__ import annotations

import secrets

import pytest

from server.engine.vllm.engine import VllmEngine
from server.engine.vllm.options import VllmOptions
from tests.engine.contract import EngineContract, Subject
from tests.engine.observing import Begun
from tests.engine.paged.scripted_runner import EOS, VOCAB_SIZE
from tests.engine.structured_contract import StructuredContract
from tests.engine.vllm.scripted_backend import FACTS, ScriptedBackend, make_key_values, make_prefix

MAX_OPEN = 40


class TestScriptedVllm(EngineContract, StructuredContract):
    """The suite."""

    @pytest.fixture
    async def subject(self, tmp_path):
        """A small engine: four sequences at once, room for six soft prompts of two blocks."""
        key = secrets.token_hex(32)
        options = VllmOptions(
            FACTS, frozenset({EOS}), max_num_seqs=4, max_open_requests=MAX_OPEN, max_prefix_bytes=1200
        )
        observer = Begun()
        engine = VllmEngine(ScriptedBackend(key, tmp_path, max_kept=6), options, key, tmp_path, observers=[observer])
        async with engine.running():
            yield Subject(
                engine,
                VOCAB_SIZE,
                EOS,
                make_prefix,
                make_key_values,
                max_context=FACTS.max_context,
                max_open_requests=MAX_OPEN,
                observed=observer.ids,
            )
