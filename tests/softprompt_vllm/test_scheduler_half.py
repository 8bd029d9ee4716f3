"""The scheduler's half: a verdict once per request, loads, captures, and memory."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from softprompt_vllm.plan import WorkerReport
from softprompt_vllm.prefix_file import path_of, write_key_values
from softprompt_vllm.scheduler_half import SchedulerHalf
from softprompt_vllm.settings import Settings
from tests.softprompt_vllm.fakes import DIGEST, DIM, KEY, LAYERS, NUM_HEADS, OTHER, FakeRequest, capture, layout, use

NUM_BYTES = layout().num_bytes_of(6)
BLOCKS = ([3, 4, 5],)


@pytest.fixture
def half(tmp_path):
    """Room for two soft prompts of six virtual tokens."""
    return SchedulerHalf(Settings(tmp_path, KEY, 2 * NUM_BYTES, 0), layout(), num_workers=1)


def _write(folder, digest=DIGEST, num=6, heads=NUM_HEADS):
    pairs = [(torch.zeros(num, heads, DIM),) * 2 for _ in LAYERS]
    return write_key_values(folder, digest, pairs)


def _captured(half, digest=DIGEST, request_id="capture"):
    """Run a capture to its end."""
    request = capture(digest, request_id=request_id)
    half.add(request)
    assert half.match(request, 0) == (0, False)
    (job,) = half.build({request_id: (0, 6, BLOCKS)}).captures
    half.finish(request)
    half.report(WorkerReport(Counter({job.ticket: 1})))


def _load(half, request, num_computed=0):
    num, is_waiting = half.match(request, num_computed)
    half.allocate(request, BLOCKS, num)
    plan = half.build({})
    return (plan.loads[0] if plan.loads else None), is_waiting


def test_plain_requests_pass():
    """They cost one look at two fields."""
    half = SchedulerHalf(Settings(None, KEY), layout(), 1)
    request = FakeRequest(prompt_token_ids=[1, 2])
    half.add(request)
    assert half.match(request, 0) == (0, False)
    half.allocate(request, BLOCKS, 0)
    half.finish(request)
    assert half.build({}).loads == []


def test_a_file_is_read_once_while_its_request_waits(half, tmp_path):
    """Later requests load in their own step, only what is not in vLLM's cache."""
    _write(tmp_path)
    first, is_waiting = _load(half, use())
    assert is_waiting and (first.waiting, first.start, first.stop) == ("use", 0, 6)
    half.report(WorkerReport(Counter({first.ticket: 1})))
    second, is_waiting = _load(half, use(request_id="second"), num_computed=4)
    assert not is_waiting and (second.waiting, second.ticket, second.start) == (None, None, 4)
    assert half.match(use(request_id="third"), 8) == (0, False)


def test_a_use_waits_for_its_capture(half):
    """Both may be sent together."""
    sent, request = capture(), use()
    half.add(sent)
    half.add(request)
    assert half.match(sent, 0) == (0, False)
    assert half.match(request, 0) == (None, False)
    first, second = (half.build({"capture": part}) for part in ((0, 4, BLOCKS), (4, 2, BLOCKS)))
    assert [(job.start, job.stop) for plan in (first, second) for job in plan.captures] == [(0, 4), (4, 6)]
    half.finish(sent)
    assert half.match(request, 0) == (None, False)
    half.report(WorkerReport(Counter({second.captures[0].ticket: 1})))
    load, is_waiting = _load(half, request)
    assert not is_waiting and load.digest == DIGEST


def test_a_cancelled_capture_is_dropped(half):
    """What waits for it is refused, and the digest can be captured anew."""
    sent, request = capture(), use()
    half.add(sent)
    half.add(request)
    half.match(sent, 0)
    half.build({"capture": (0, 4, BLOCKS)})
    half.finish(sent)
    assert half.match(request, 0) == (9, True)
    assert half.build({}).drops == [DIGEST]
    half.finish(request)
    _captured(half)
    assert half.match(use(request_id="later"), 0) == (6, False)


def test_a_capture_with_a_gap_is_never_ready(half):
    """Positions that were not computed in its steps are not there."""
    sent = capture()
    half.add(sent)
    half.match(sent, 0)
    assert half.build({"capture": (4, 2, BLOCKS)}).captures == []
    half.finish(sent)
    assert half.match(use(), 0)[1]


def test_a_capture_that_goes_on_captures_nothing_more(half):
    """A front end may let it generate more than one token, and vLLM may preempt it then."""
    sent = capture()
    half.add(sent)
    half.match(sent, 0)
    (job,) = half.build({"capture": (0, 6, BLOCKS)}).captures
    assert half.build({"capture": (6, 1, BLOCKS)}).captures == []
    assert half.match(sent, 0) == (0, False)
    assert half.build({"capture": (0, 7, BLOCKS)}).captures == []
    half.report(WorkerReport(Counter({job.ticket: 1})))
    half.finish(sent)
    assert half.match(use(), 0) == (6, False)


def test_a_second_capture_of_a_digest_captures_nothing(half):
    """Its rows are not even compared: the first stays."""
    _captured(half)
    again = capture(request_id="again")
    half.add(again)
    assert half.match(again, 0) == (0, False)
    assert not half.is_capturing("again")
    half.finish(again)
    assert half.match(use(), 0) == (6, False)


def test_a_refused_request_waits_and_fails(half):
    """It never runs, and its prefix is never computed as text."""
    request = use()
    request.skip_reading_prefix_cache = True
    half.add(request)
    assert half.match(request, 4) == (5, True)
    assert not request.skip_reading_prefix_cache
    half.allocate(request, BLOCKS, 5)
    assert half.build({}).refused == ["use"]
    half.finish(request)
    assert half.residency.num_open == 0


def test_a_verdict_stays(half, tmp_path):
    """A file that appears later does not change it."""
    request = use()
    half.add(request)
    _write(tmp_path)
    assert half.match(request, 0) == (9, True)
    assert half.match(use(request_id="later"), 0) == (6, True)


@pytest.mark.parametrize("num", [5, 7])
def test_another_number_of_virtual_tokens_is_refused(half, tmp_path, num):
    """From a file, and from a capture."""
    _write(tmp_path)
    assert half.match(use(num=num), 0) == (num + 3, True)
    _captured(half, OTHER)
    assert half.match(use(OTHER, num=num, request_id="other"), 0) == (num + 3, True)


def test_a_file_with_other_heads_is_refused(half, tmp_path, caplog):
    """As PEFT's keys for every query head are, where the cache has one per group."""
    _write(tmp_path, heads=4)
    assert half.match(use(), 0) == (9, True)
    assert "4 key-value heads" in caplog.text


def test_a_full_memory_drops_what_no_request_names(half):
    """A captured one is then unknown."""
    for number, digest in enumerate("abc"):
        _captured(half, digest * 64, f"capture {number}")
    assert half.build({}).drops == []  # told with the third capture
    assert half.match(use("a" * 64), 0) == (9, True)
    assert half.match(use("c" * 64, request_id="c"), 0) == (6, False)


def test_a_capture_waits_for_memory(half):
    """Open requests name all that is kept: it goes on when one of them ends."""
    for digest in "ab":
        _captured(half, digest * 64, digest)
        half.add(use(digest * 64, request_id=f"use {digest}"))
    sent = capture("c" * 64)
    half.add(sent)
    assert half.match(sent, 0) == (None, False)
    half.finish(use("a" * 64, request_id="use a"))
    assert half.match(sent, 0) == (0, False)
    assert half.build({}).drops == ["a" * 64]


def test_a_capture_larger_than_the_memory_is_refused(half):
    """It would wait forever."""
    assert half.match(capture(num=17), 0) == (17, True)


def test_files_without_room_are_read_and_not_kept(half, tmp_path):
    """Requests are never refused for memory."""
    for digest in "ab":
        _captured(half, digest * 64, digest)
        half.add(use(digest * 64, request_id=f"use {digest}"))
    _write(tmp_path, "c" * 64)
    load, is_waiting = _load(half, use("c" * 64))
    assert is_waiting and load.ticket is None


def test_a_file_that_fails_is_looked_at_anew(half, tmp_path):
    """It may have been replaced or removed."""
    _write(tmp_path)
    load, _ = _load(half, use())
    half.report(WorkerReport(failed={load.ticket}))
    path_of(tmp_path, DIGEST).unlink()
    assert half.match(use(request_id="later"), 0) == (9, True)


class _Broken(dict):
    """Parameters that cannot be read."""

    def get(self, *_):
        """As an error of our own would be."""
        raise ZeroDivisionError


def test_an_error_of_our_own_refuses_one_request(half):
    """An exception in vLLM's scheduler would end the engine."""
    request = use()
    request.kv_transfer_params = _Broken(request.kv_transfer_params)
    half.add(request)
    assert half.match(request, 0) == (9, True)
    half.allocate(request, BLOCKS, 9)
    assert half.build({}).refused == ["use"]


def test_a_reset_forgets(half):
    """After a change of weights all keys and values are wrong."""
    _captured(half)
    half.add(use())
    assert not half.reset()
    half.finish(use())
    assert half.reset()
    assert half.match(use(request_id="later"), 0) == (9, True)


def test_ended_requests_leave_nothing_behind(half, tmp_path):
    """Served, refused and captured."""
    _write(tmp_path, OTHER)
    for request in (
        use(request_id="1"),
        use(OTHER, request_id="2"),
        capture(request_id="3"),
        use(num=9, request_id="4"),
    ):
        half.add(request)
        half.match(request, 0)
        half.finish(request)
    assert (half._verdicts, half._capturing, half.residency.num_open) == ({}, {}, 0)
