"""The contract of the port, on our engine over a scripted runner."""

from __future__ import annotations

import pytest

from server.engine.paged.engine import Engine
from server.engine.thread.async_engine import AsyncEngine
from server.model.prefix import PrefixKind
from tests.engine.contract import EngineContract, Subject
from tests.engine.observing import Begun
from tests.engine.paged.harness import make_options, make_runner
from tests.engine.paged.scripted_runner import EOS, NAN_TOKEN, VOCAB_SIZE, make_prefix
from tests.engine.structured_contract import StructuredContract

MAX_OPEN = 40


class TestPaged(EngineContract, StructuredContract):
    """The suite."""

    @pytest.fixture
    async def subject(self):
        """A small engine: four sequences at once, room for six soft prompts of two blocks."""
        options = make_options(max_open_requests=MAX_OPEN, max_num_seqs=4, max_prefix_blocks=12)
        runner, observer = make_runner(options), Begun()
        engine = AsyncEngine(Engine(runner, options), options, observers=[observer])
        async with engine.running():
            yield Subject(
                engine,
                VOCAB_SIZE,
                EOS,
                make_prefix,
                lambda number, size: make_prefix(0x1000000 + number, size, PrefixKind.KEY_VALUES),
                max_context=options.max_context,
                max_open_requests=MAX_OPEN,
                avoid=((NAN_TOKEN, -100.0),),
                observed=observer.ids,
            )
        assert runner.violations == []
