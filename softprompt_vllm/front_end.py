"""The end of a front end ends its engine, and the end of an engine its workers. Nobody else would stop them in time."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


def follow(
    parent_pid: int,
    *,
    interval_s: float = 1.0,
    parent: Callable[[], int] = os.getppid,
    end: Callable[[int], object] = os._exit,
) -> threading.Thread:
    """End this process soon after its parent has gone: an engine's front end, or a worker's engine.

    A worker would notice by itself, but may take long to leave its group of ranks.
    """

    def watch() -> None:
        while parent() == parent_pid:
            time.sleep(interval_s)
        logger.warning("the parent process has gone, and so this one ends")
        end(1)

    thread = threading.Thread(target=watch, name="parent", daemon=True)
    thread.start()
    return thread
