"""Whatever comes in whatever order: no exception, no wrong block, no hang, and never more memory than allowed."""

from __future__ import annotations

from random import Random

import pytest

from softprompt_vllm.prefix_file import path_of, write_key_values
from tests.softprompt_vllm.fakes import DIM, LAYERS, FakeRequest, capture, layout, use
from tests.softprompt_vllm.simulated_engine import SimulatedEngine, content_of

DIGESTS = [letter * 64 for letter in "0123456789ab"]
FILES, CAPTURED = DIGESTS[:5], DIGESTS[5:]
SIZES = {digest: 1 + 3 * number % 13 for number, digest in enumerate(DIGESTS)}
MAX_BYTES = layout().num_bytes_of(max(SIZES.values())) + layout().num_bytes_of(5)
NUM_EVENTS = 250
NUM_DRAINING = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of the soft prompts that are not captured."""
    folder = tmp_path_factory.mktemp("files")
    for digest in FILES:
        pairs = [content_of(digest, name, SIZES[digest]).split(DIM, dim=-1) for name in LAYERS]
        write_key_values(folder, digest, pairs)
    return folder


def _request(rng: Random, number: int) -> FakeRequest:
    digest = rng.choice(DIGESTS)
    kind = rng.choices(["use", "lie", "capture"], [6, 1, 3])[0]
    if kind == "capture":
        digest = rng.choice(CAPTURED)
        return capture(digest, SIZES[digest], f"capture {digest[0]} {number}")
    num = SIZES[digest] + (kind == "lie")
    return use(digest, num, f"{kind} {digest[0]} {number}")


@pytest.mark.parametrize("seed", range(24))
def test_whatever_comes_is_right_or_refused(folder, tmp_path, seed):
    """One or two workers, reports at once or a step late, now and then a reset and a file that is away for a while."""
    rng = Random(seed)
    engine = SimulatedEngine(folder, MAX_BYTES, num_workers=1 + seed % 2, rng=rng)
    for number in range(NUM_EVENTS):
        event = rng.choices(["add", "step", "cancel", "preempt", "reset"], [5, 6, 1, 1, 0.3])[0]
        if event == "add":
            engine.add(_request(rng, number))
        elif event == "step":
            engine.step(is_late=seed % 3 == 0)
        elif event == "reset":
            engine.half.reset()
        else:
            getattr(engine, event)()
        assert engine.half.residency.num_bytes <= MAX_BYTES
    _drain(engine)
    _check_outcomes(engine)
    for number, digest in enumerate(CAPTURED):
        engine.add(capture(digest, SIZES[digest], f"last capture {number}"))
        engine.add(use(digest, SIZES[digest], f"last use {number}"))
    _drain(engine)
    assert [engine.ended[f"last use {number}"] for number in range(len(CAPTURED))] == ["done"] * len(CAPTURED)
    assert (engine.half._verdicts, engine.half._capturing, engine.half.residency.num_open) == ({}, {}, 0)
    for worker in engine.workers:
        assert worker.kept.num_host_bytes == engine.half.residency.num_bytes
        assert not worker._partial


def _check_outcomes(engine: SimulatedEngine) -> None:
    """A lie is refused, and a file is always served."""
    outcomes = {name: outcome for name, outcome in engine.ended.items() if outcome != "cancelled"}
    assert {outcome for name, outcome in outcomes.items() if name.startswith("lie")} <= {"error"}
    served = {name for name, outcome in outcomes.items() if outcome == "done"}
    files = {name for name in outcomes if name.startswith("use") and name[4] * 64 in FILES}
    assert files <= served


def _drain(engine: SimulatedEngine) -> None:
    """Let everything end. What is left then hangs."""
    for _ in range(NUM_DRAINING):
        if engine.num_open:
            engine.step()
    assert engine.num_open == 0


def test_a_file_that_comes_and_goes_is_served_or_refused(folder, tmp_path):
    """Requests fail while it is away, alone, and the engine goes on."""
    rng = Random(0)
    engine = SimulatedEngine(tmp_path, MAX_BYTES, 1, rng)
    digest = FILES[1]
    path, source = path_of(tmp_path, digest), path_of(folder, digest)
    for number in range(NUM_EVENTS):
        if rng.random() < 0.3:
            path.unlink(missing_ok=True)
        elif rng.random() < 0.4:
            path.write_bytes(source.read_bytes())
        engine.add(use(digest, SIZES[digest], f"use {number}"))
        engine.half.reset() if rng.random() < 0.3 else None
        engine.step(is_late=rng.random() < 0.5)
    _drain(engine)
    assert set(engine.ended.values()) == {"done", "error"}
