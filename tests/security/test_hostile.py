"""A hundredth of each long form: schemas, uploads, files, overload and stalled sockets. Figures: reliability.md."""

import asyncio
import random
import time

import pytest

from tests.fakes.gguf_files import write_gguf
from tests.security import gguf_fuzz
from tests.security.application import application
from tests.security.reader_fuzz import corpus, read_one
from tests.security.schema_fuzz import ADMIN_KEY, NUM_EXAMPLES, fuzz
from tests.security.upload_fuzz import MAX_GROWTH_MIB, NUM_CASES, Tally, fuzz_uploads, memory_mib
from tests.system.hostile_clients import (
    arriving_load,
    fitting_load,
    healthy_latencies_s,
    lasts,
    open_sockets,
    serving,
    stalled_sockets,
)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a slow machine, not a hang
def test_every_operation_answers_as_the_document_says():
    """Schemathesis, all phases."""
    with serving(admin_key=ADMIN_KEY) as process:
        result = fuzz(process.url, NUM_EXAMPLES // 100, "--phases", "examples,coverage,fuzzing,stateful")
    assert result.returncode == 0, result.stdout[-8_000:]


@pytest.mark.slow
@pytest.mark.timeout(600)  # a slow machine, not a hang
def test_uploads_are_accepted_or_refused(tmp_path):
    """Never a failure, and memory stays."""
    with application(tmp_path) as app:
        fuzz_uploads(app, 50, Tally())
        tally, before_mib = Tally(), memory_mib()
        fuzz_uploads(app, NUM_CASES // 100, tally)
    assert tally.statuses.total() >= NUM_CASES // 100
    assert memory_mib() - before_mib < MAX_GROWTH_MIB


def test_damaged_files_are_read_or_refused():
    """As the fuzzer asks it, without one: bytes changed, cut out and put in at random, from a fixed seed."""
    draw = random.Random(0)
    for _ in range(2_000):
        data = bytearray(draw.choice(corpus()))
        for _ in range(draw.randint(1, 8)):
            place = draw.randrange(len(data) + 1)
            data[place : place + draw.randint(0, 9)] = draw.randbytes(draw.randint(0, 9))
        read_one(bytes(data))


def test_damaged_gguf_files_are_read_or_refused(tmp_path):
    """Their headers, in the same way."""
    draw, good = random.Random(0), write_gguf(tmp_path / "good.gguf").read_bytes()
    for _ in range(1_000):
        data = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(6_000)  # the header
            data[place : place + draw.randint(0, 9)] = draw.randbytes(draw.randint(0, 9))
        gguf_fuzz.read_one(tmp_path / "mutant.gguf", bytes(data))


@pytest.mark.slow
@pytest.mark.timeout(600)  # a slow machine, not a hang
def test_more_than_fits_is_refused_and_the_rest_answered():
    """Under a flood there are three answers: the right one, too many, and too late."""
    with serving(max_num_seqs=2, max_waiting=8) as process:
        alone_s = asyncio.run(fitting_load(process, 1, 3, 64)).p99_s
        outcome = asyncio.run(arriving_load(process, per_s=100, duration_s=3.0, num_tokens=64, timeout_s=4 * alone_s))
        assert set(outcome.statuses) <= {200, 429, 503}
        assert outcome.statuses[200] and outcome.statuses.total() == 300
        assert outcome.statuses[429] + outcome.statuses[503] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)  # a slow machine, not a hang
def test_stalled_sockets_are_closed_and_nobody_else_is():
    """A healthy client beside them is answered all the time."""
    with serving(header_timeout_s=1, body_timeout_s=1, write_timeout_s=1) as process:
        sockets = stalled_sockets(process, 30)
        assert healthy_latencies_s(process, lasts(1.0))
        until = time.monotonic() + 30
        while open_sockets(sockets) and time.monotonic() < until:
            time.sleep(0.05)
        assert not open_sockets(sockets)
        assert healthy_latencies_s(process, lasts(0.5))
        for client in sockets:
            client.close()
