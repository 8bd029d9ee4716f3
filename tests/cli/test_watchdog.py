"""A process whose engine hangs ends with a clear word, and one whose engine was only slow does not."""

import threading

from server.cli.serving.watchdog import EXIT_WEDGED, Watchdog


def ended_by(looks):
    """The status with which a watchdog that sees these looks, and a dead engine after them, ends; and looks left."""
    left = list(looks)
    ended = threading.Event()
    statuses = []

    def end(status):
        statuses.append(status)
        ended.set()

    Watchdog(lambda: left.pop(0) if left else False, interval_s=0.001, end=end).start()
    assert ended.wait(10)
    return statuses, left


def test_two_dead_looks_in_a_row_end_the_process(caplog):
    """With the place where every thread stands."""
    statuses, left = ended_by([True, True, False, False, True])
    assert (statuses, left) == ([EXIT_WEDGED], [True])
    assert "the engine makes no progress" in caplog.text
    assert "--- watchdog" in caplog.text


def test_one_dead_look_does_not():
    """The step ended after all."""
    statuses, left = ended_by([False, True, False, True])
    assert (statuses, left) == ([EXIT_WEDGED], [])
