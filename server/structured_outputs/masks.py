"""The masks of the next tokens, computed on threads of their own while the engine computes the next step.

A mask that takes long must hold up nothing but the answers of its form. So a form whose masks came late gets a call of
its own; the others share one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property

import numpy as np
from llguidance import LLExecutor, LLMatcher
from numpy.typing import NDArray

from server.structured_outputs.compiled import CompiledConstraint, Matcher

_NUM_THREADS = max(1, min(8, (os.cpu_count() or 2) // 2))

Masks = NDArray[np.int32]
"""`[num_matchers, num_words]`. The work holds it, since an answer may be aborted before its mask is filled."""
MaskWork = Callable[[Sequence[LLMatcher], Masks], None]


class MaskThreads:
    """Fills masks for many answers in one call, which holds no interpreter lock. Its threads start with the first."""

    def __init__(self) -> None:
        self._open: list[Future[None]] = []

    def fill(self, matchers: Iterable[Matcher]) -> None:
        """Begin to fill the next mask of each matcher, whose forms are all ready and of one vocabulary."""
        by_form: dict[CompiledConstraint, list[Matcher]] = {}
        for matcher in matchers:
            by_form.setdefault(matcher.compiled, []).append(matcher)
        self._open = [filling for filling in self._open if not filling.done()]
        together = [one for form, several in by_form.items() if not form.is_late for one in several]
        if together:
            self._begin(self._shared_thread, self._fill_together, together)
        for form, several in by_form.items():
            if form.is_late:
                self._begin(self._late_threads, _fill_in_turn, several)

    def wait_for(self, matchers: Iterable[Matcher], at_most_s: float) -> None:
        """Wait until the forms of all matchers are ready, for `at_most_s` seconds."""
        wait({one.compiled.filling for one in matchers if one.compiled.filling is not None}, at_most_s)

    def wait_for_one(self, at_most_s: float) -> None:
        """Wait until some form is ready, for `at_most_s` seconds. Returns at once if none is being computed."""
        if self._open:
            self._open = list(wait(self._open, at_most_s, FIRST_COMPLETED).not_done)

    def _begin(self, threads: ThreadPoolExecutor, work: MaskWork, matchers: Sequence[Matcher]) -> None:
        masks = np.zeros((len(matchers), matchers[0].num_words), np.int32)
        filling = threads.submit(work, [one.matcher for one in matchers], masks)
        for mask, one in zip(masks, matchers, strict=True):
            one.expect(mask)
        for form in {one.compiled for one in matchers}:
            form.expect(filling)
        self._open.append(filling)

    def _fill_together(self, matchers: Sequence[LLMatcher], masks: Masks) -> None:
        numbered = [(one, number) for number, one in enumerate(matchers)]
        self._executor.unsafe_compute_mask_ptr(numbered, masks.ctypes.data, masks[0].nbytes, len(matchers))

    @cached_property
    def _shared_thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="token-masks")

    @cached_property
    def _late_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_NUM_THREADS + 1, thread_name_prefix="late-token-masks")

    @cached_property
    def _executor(self) -> LLExecutor:
        return LLExecutor(_NUM_THREADS)


def _fill_in_turn(matchers: Sequence[LLMatcher], masks: Masks) -> None:
    """Not with the executor: its threads are for the others."""
    for matcher, mask in zip(matchers, masks, strict=True):
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
