"""A small engine over a scripted backend."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pytest

from server.engine.request import Generate, Request, SamplingParams
from server.engine.vllm.engine import VllmEngine
from server.engine.vllm.options import VllmOptions
from tests.engine.paged.scripted_runner import EOS
from tests.engine.vllm.scripted_backend import FACTS, ScriptedBackend


@dataclass
class Face:
    """The engine, what it runs on, and a clock that tests turn."""

    engine: VllmEngine
    backend: ScriptedBackend
    folder: object
    now: float = 0.0

    async def ask(self, request):
        """All events of a request."""
        return [event async for event in self.engine.stream(request)]


def generate(name, prompt=(1, 2, 3), *, task="", prefix=None, n=1, salt=b"", priority=0, **sampling):
    """A greedy request of four tokens."""
    values = {"max_tokens": 4, "temperature": 0.0, "ignore_eos": True} | sampling
    return Request(name, task, prompt, Generate(SamplingParams(**values), n), prefix, salt, priority)


@pytest.fixture
async def make_face(tmp_path):
    """Makes an engine that runs until the test ends. `max_kept` is the room of the connector, in soft prompts."""
    opened = []

    async def make(max_kept=1000, max_prefix_bytes=100_000, **changes):
        key = secrets.token_hex(32)
        options = {"max_num_seqs": 4, "max_open_requests": 400, "max_prefix_bytes": max_prefix_bytes} | changes
        backend = ScriptedBackend(key, tmp_path, max_kept=max_kept)
        face = Face(None, backend, tmp_path)
        face.engine = VllmEngine(
            backend, VllmOptions(FACTS, frozenset({EOS}), **options), key, tmp_path, clock=lambda: face.now
        )
        running = face.engine.running()
        await running.__aenter__()
        opened.append(running)
        return face

    yield make
    for running in opened:
        await running.__aexit__(None, None, None)
