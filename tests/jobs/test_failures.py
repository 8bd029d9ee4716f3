"""Errors of failed jobs: the code for the client, and the text for the log."""

from __future__ import annotations

import pytest
import torch

from server.tuning.errors import TuningDiverged


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: not enough memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
async def test_a_lack_of_memory_has_a_code_of_its_own(bench, error):
    """Python's error, PyTorch's on a CPU in two wordings, and PyTorch's on a GPU."""

    def fail(step: int) -> None:
        raise error

    bench.control.on_step = fail
    failed = await bench.run(bench.create())
    assert failed.error.code == "out_of_memory"


async def test_a_piece_that_fails_fails_its_job_with_the_cause(bench):
    """The error's code and the last line of the log say it."""

    def diverge(step: int) -> None:
        raise TuningDiverged("the loss is NaN at step 1")

    bench.control.on_step = diverge
    job_id = bench.create()
    failed = await bench.run(job_id)
    assert (failed.status, failed.error.code) == ("failed", "diverged")
    assert bench.messages(job_id)[-1] == "The job failed: the loss is NaN at step 1"


async def test_an_unknown_error_fails_its_job_and_is_not_quoted(bench, caplog):
    """The server's log has the text, and the next job runs."""

    def break_down(step: int) -> None:
        raise ValueError("secret")

    bench.control.on_step = break_down
    first, second = bench.create(), bench.create(task="other")
    async with bench.server():
        failed = await bench.until(first, "failed")
        bench.control.on_step = lambda step: None
        await bench.until(second, "succeeded", "failed")
    assert failed.error.code == "internal_error"
    assert "secret" not in failed.error.message
    assert "secret" in caplog.text
    assert bench.job(second).status == "succeeded" or bench.job(second).error.code == "internal_error"
