"""The memory of the kept soft prompts, as the scheduler counts it."""

from __future__ import annotations

from collections import Counter

from softprompt_vllm.residency import Residency


def _full(num: int = 3, num_workers: int = 1) -> Residency:
    """Room for three soft prompts of 10 bytes, all taken and ready."""
    residency = Residency(30, num_workers)
    for number in range(num):
        entry = residency.begin(str(number), 5, 10, is_capture=False)
        residency.report(Counter({entry.ticket: num_workers}), set())
    return residency


def test_the_least_recently_used_is_dropped_first():
    """A use counts as one."""
    residency = _full()
    residency.use("0")
    assert residency.begin("new", 5, 10, is_capture=True)
    assert residency.take_drops() == ["1"]
    assert residency.take_drops() == []
    assert residency.num_bytes == 30


def test_what_an_open_request_names_stays():
    """Also where nothing else can go: then there is no room."""
    residency = _full()
    for digest in ("0", "1", "1", "2"):
        residency.open(digest)
    assert residency.begin("new", 5, 10, is_capture=True) is None
    residency.close("1")
    assert residency.begin("new", 5, 10, is_capture=True) is None
    residency.close("1")
    assert residency.begin("new", 5, 10, is_capture=True)
    assert residency.take_drops() == ["1"]
    assert residency.num_open == 2


def test_what_is_being_filled_stays():
    """A plan that is on its way writes into it."""
    residency = Residency(10, 1)
    residency.begin("0", 5, 10, is_capture=False)
    assert residency.begin("1", 5, 10, is_capture=False) is None


def test_an_entry_is_ready_when_all_workers_are_done():
    """Reports of ranks may come apart; a failure of one is a failure."""
    residency = Residency(30, 2)
    one, two = (residency.begin(name, 5, 10, is_capture=True) for name in "ab")
    residency.report(Counter({one.ticket: 1, two.ticket: 1}), set())
    assert not one.is_ready
    residency.report(Counter({one.ticket: 1}), {two.ticket})
    assert one.is_ready
    assert residency.get("b") is None
    assert residency.take_drops() == ["b"]


def test_a_report_of_a_dropped_filling_is_no_report_of_the_next():
    """A cancelled capture may still be reported after the digest is captured anew."""
    residency = Residency(30, 1)
    old = residency.begin("a", 5, 10, is_capture=True)
    residency.drop("a")
    new = residency.begin("a", 5, 10, is_capture=True)
    residency.report(Counter({old.ticket: 1}), set())
    assert not new.is_ready


def test_a_reset_spares_what_open_requests_name():
    """It says whether all is gone."""
    residency = _full()
    residency.open("1")
    assert not residency.reset()
    assert [residency.get(name) is None for name in "012"] == [True, False, True]
    residency.close("1")
    assert residency.reset()
    assert residency.num_bytes == 0
