"""The masks of the next tokens, computed on a thread of their own while the engine computes the next step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from llguidance import LLExecutor, LLMatcher
from numpy.typing import NDArray

from server.structured_outputs.compiled import Matcher

_MAX_THREADS = 8


class MaskThread:
    """Fills masks for many answers in one call, which holds no interpreter lock. Its threads start with the first."""

    def fill(self, matchers: Sequence[Matcher]) -> None:
        """Begin to fill the next mask of each matcher; `Matcher.next_mask` waits for it.

        All are of one vocabulary.
        """
        if not matchers:
            return
        masks = np.zeros((len(matchers), matchers[0].num_words), np.int32)
        numbered = [(one.matcher, number) for number, one in enumerate(matchers)]
        filling = self._thread.submit(self._fill, numbered, masks)
        for mask, one in zip(masks, matchers, strict=True):
            one.expect(mask, filling)

    def _fill(self, numbered: list[tuple[LLMatcher, int]], masks: NDArray[np.int32]) -> None:
        """Holds the array: a matcher may be dropped before its mask is filled."""
        num_rows, num_words = masks.shape
        self._executor.unsafe_compute_mask_ptr(numbered, masks.ctypes.data, num_words * masks.itemsize, num_rows)

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="token-masks")

    @cached_property
    def _executor(self) -> LLExecutor:
        return LLExecutor(max(1, min(_MAX_THREADS, (os.cpu_count() or 2) // 2)))
