"""An engine ends with the front end that started it."""

from __future__ import annotations

import queue

from softprompt_vllm.front_end import follow


def test_an_engine_whose_front_end_has_gone_ends():
    """Another parent means that the first has ended. As long as it is the same, nothing happens."""
    parents, ended = iter([7, 7, 7, 1]), queue.Queue()
    follow(7, interval_s=0.001, parent=lambda: next(parents), end=ended.put)
    assert ended.get(timeout=20) == 1
    assert next(parents, None) is None
