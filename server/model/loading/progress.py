"""Progress of a long step at start: a bar on a terminal, else a log line every few seconds.

A step that ends within a second or two shows nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transformers.utils.logging import is_progress_bar_enabled, tqdm

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 5.0
_BAR_DELAY_S = 1.0
_GB = 1e9

Progress = Callable[[int], object]
"""Takes the number of bytes that were done since its last call. Any thread may call it."""


@contextmanager
def showing_progress(what: str, num_bytes: int) -> Iterator[Progress]:
    """Show how much of `num_bytes` is done."""
    if not is_progress_bar_enabled():
        yield LoggedProgress(what, num_bytes)
        return
    with tqdm(total=num_bytes, unit="B", unit_scale=True, desc=what, delay=_BAR_DELAY_S) as bar:
        yield bar.update


class LoggedProgress:
    """Progress as log lines, at most one per `LOG_INTERVAL_S`, the first after that time."""

    def __init__(self, what: str, num_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._num_bytes = num_bytes
        self._clock = clock
        self._num_done = 0
        self._last = clock()
        self._lock = threading.Lock()

    def __call__(self, num_bytes: int) -> None:
        """Count bytes, and log if it is time."""
        with self._lock:
            self._num_done += num_bytes
            now = self._clock()
            if now - self._last < LOG_INTERVAL_S or self._num_done >= self._num_bytes:
                return
            self._last = now
            share = self._num_done / self._num_bytes
        logger.info("%s: %.0f %% of %.1f GB", self._what, 100 * share, self._num_bytes / _GB)
