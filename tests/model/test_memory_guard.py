"""A device that is out of memory gets smaller batches, and the answer is the same."""

import pytest
import torch

from server.model.flat_batch import Chunk
from server.model.memory_guard import MemoryGuard, split
from server.model.runner import PrefixPlacement
from tests.engine.paged.alone import check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text
from tests.engine.paged.scripted_runner import ScriptedRunner, make_prefix


class SmallDevice(ScriptedRunner):
    """Holds `room` tokens of a batch at once, and no more."""

    room = 1 << 30
    num_loads_that_fit = 1 << 30

    def forward(self, chunks):
        if sum(len(chunk.tokens) for chunk in chunks) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(chunks)

    def load_prefixes(self, placements):
        if len(placements) > self.num_loads_that_fit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().load_prefixes(placements)


def small_harness(**options):
    harness = EngineHarness(make_options(**options))
    harness.runner.__class__ = SmallDevice
    return harness


@pytest.mark.parametrize("room", [1, 2, 7])
def test_requests_are_answered_right_on_a_device_that_is_too_small(room):
    """Every request of the batch, prompts that have to be cut included; none fails, and no block is lost."""
    harness = small_harness()
    harness.runner.room = room
    for number in range(5):
        harness.add(generate(f"r{number}", text(9 + number), prefix=make_prefix(number % 2, 5)))
    harness.drain()
    for name, request in harness.requests.items():
        check_answer(request, harness.events[name])
    assert harness.engine.stats.num_out_of_memory > 0
    assert harness.engine.stats.num_step_failures == 0
    harness.check_empty()


def test_prefixes_that_do_not_fit_together_are_loaded_one_by_one():
    harness = small_harness()
    harness.runner.num_loads_that_fit = 1
    for number in range(3):
        harness.add(generate(f"r{number}", prefix=make_prefix(number, 5)))
    harness.drain()
    for name, request in harness.requests.items():
        check_answer(request, harness.events[name])
    assert harness.engine.stats.num_out_of_memory == 1
    harness.check_empty()


def test_a_prefix_that_never_fits_fails_who_waits_for_it_and_the_engine_goes_on():
    harness = small_harness()
    harness.runner.num_loads_that_fit = 0
    bad = harness.add(generate("bad", prefix=make_prefix(1, 5)))
    good = harness.add(generate("good"))
    harness.drain()
    assert isinstance(bad[-1].cause, torch.OutOfMemoryError)
    check_answer(harness.requests["good"], good)
    harness.check_empty()


class Counting:
    """A runner that notes how many tokens it was given at once."""

    def __init__(self, room):
        self.room = room
        self.batches = []

    def forward(self, chunks):
        num_tokens = sum(len(chunk.tokens) for chunk in chunks)
        if num_tokens > self.room:
            raise torch.OutOfMemoryError
        self.batches.append(num_tokens)
        return torch.cat([torch.full((chunk.num_logits, 1), float(chunk.tokens[0])) for chunk in chunks])


def chunk(length, start=0, logits_from=None):
    return Chunk(tuple(range(start, start + length)), start, (1, 2), logits_from)


def test_the_limit_is_kept_and_grows_back():
    """The next batch is not tried whole again at once; after calm ones it is."""
    released = []
    runner = Counting(room=10)
    guard = MemoryGuard(runner, release=lambda: released.append(1))
    guard.forward([chunk(16, logits_from=15)])
    assert (runner.batches, guard.max_tokens, guard.num_out_of_memory, released) == ([8, 8], 8, 1, [1])
    runner.room = 1 << 20
    for _ in range(256 * 16):
        guard.forward([chunk(4, logits_from=3)])
    assert guard.max_tokens is None
    assert guard.num_out_of_memory == 1


def test_one_token_that_does_not_fit_is_the_callers_failure():
    guard = MemoryGuard(Counting(room=0), release=lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        guard.forward([chunk(3, logits_from=2)])


def test_chunks_are_cut_without_loss():
    """Tokens, positions and rows of logits, in order."""
    chunks = [chunk(5, start=3, logits_from=1), chunk(1, start=40, logits_from=0), chunk(4)]
    parts = split(chunks, 3)
    assert [sum(one.num_tokens for one in part) for part in parts] == [3, 3, 3, 1]
    flat = [one for part in parts for one in part]
    assert [t for one in flat for t in one.tokens] == [t for one in chunks for t in one.tokens]
    assert all(one.start == one.tokens[0] for one in flat)
    rows = [t for one in flat if one.logits_from is not None for t in one.tokens[one.logits_from :]]
    assert rows == [4, 5, 6, 7, 40]


def test_embeddings_are_cut_like_ids():
    rows = torch.arange(10.0).reshape(5, 2)
    parts = split([Chunk(rows, 0, (1,), None)], 2)
    assert torch.equal(torch.cat([one.tokens for part in parts for one in part]), rows)


def test_other_failures_pass():
    class Broken(Counting):
        def load_prefixes(self, placements):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        MemoryGuard(Broken(1)).load_prefixes([PrefixPlacement(make_prefix(1, 2), (1,))])
