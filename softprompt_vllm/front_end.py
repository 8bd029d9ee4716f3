"""The end of a front end ends its engine: nobody else would stop the processes of vLLM that it left."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


def follow(
    front_end_pid: int,
    *,
    interval_s: float = 1.0,
    parent: Callable[[], int] = os.getppid,
    end: Callable[[int], object] = os._exit,
) -> threading.Thread:
    """End this process soon after its parent, the front end, has gone. vLLM's workers end with this process."""

    def watch() -> None:
        while parent() == front_end_pid:
            time.sleep(interval_s)
        logger.warning("the front end has gone, and its engine ends")
        end(1)

    thread = threading.Thread(target=watch, name="front-end", daemon=True)
    thread.start()
    return thread
