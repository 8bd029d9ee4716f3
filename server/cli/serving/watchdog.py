"""The watchdog: it ends a process whose engine is wedged or dead, so that a supervisor restarts it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

EXIT_WEDGED = 70
"""Exit status for an engine failure: EX_SOFTWARE of BSD's sysexits."""

_log = logging.getLogger(__name__)


class Watchdog:
    """A thread that checks the engine every `interval_s` seconds, and ends the process after two failures in a row.

    Between the two checks, `/health` reports the failure. `end` is the function that ends the process.
    """

    def __init__(
        self, is_alive: Callable[[], bool], interval_s: float = 1.0, end: Callable[[int], object] = os._exit
    ) -> None:
        self._is_alive = is_alive
        self._interval_s = interval_s
        self._end = end
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the checks."""
        self._thread.start()

    def _watch(self) -> None:
        num_dead = 0
        while num_dead < 2:
            time.sleep(self._interval_s)
            num_dead = 0 if self._is_alive() else num_dead + 1
        message = "the engine makes no progress; the process ends with status %d, to be restarted. Its threads:\n%s"
        _log.critical(message, EXIT_WEDGED, _threads())
        logging.shutdown()
        self._end(EXIT_WEDGED)


def _threads() -> str:
    """Return the stack of every thread: code only, no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        parts.append(f"--- {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}")
    return "".join(parts)
