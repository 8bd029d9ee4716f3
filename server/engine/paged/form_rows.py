"""The rows of logits that are sampled for an answer's form, and the masks that say which tokens may come.

A sequence whose mask is not there sits out: its row is not read, so its last token is computed again by the step that
samples, with the same result. Its neighbours go on. A step waits for masks only as long as it would take to compute
their rows again.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import abc

import torch

from server.engine.client import FORM_HOLD_BUCKETS_S, FormHolds
from server.engine.paged.sequence import RequestGroup, Sequence
from server.engine.paged.step_rows import StepRows
from server.model.sampling.token_masks import forbid
from server.structured_outputs.compiled import Mask, Matcher
from server.structured_outputs.errors import MatcherFailed
from server.structured_outputs.masks import MaskThreads

_SHORT_WAIT_S = 0.001
_LONG_WAIT_S = 0.02
_IDLE_WAIT_S = 0.005


class FormRows:
    """Masks rows, and counts how long that holds each step. Only the engine thread calls this.

    `fail` ends a request whose form no token can continue.
    """

    def __init__(self, fail: abc.Callable[[RequestGroup, MatcherFailed], None]) -> None:
        self.masks = MaskThreads()
        self._fail = fail
        self._num_steps = [0] * (len(FORM_HOLD_BUCKETS_S) + 1)
        self._hold_s = 0.0
        self._num_late = 0

    @property
    def holds(self) -> FormHolds:
        """How long forms held steps so far."""
        return FormHolds(tuple(self._num_steps), self._hold_s, self._num_late)

    def forbid(self, plans: abc.Sequence[StepRows], logits: torch.Tensor, step_s: float) -> frozenset[Sequence]:
        """Forbid what forms do not allow, in the rows that sample for one. Returns the sequences that sit out.

        The rows took `step_s` seconds to compute.
        """
        wanted = [plan for plan in plans if _needs_mask(plan)]
        if not wanted:
            return frozenset()
        began = time.perf_counter()
        self._wait([plan.sequence.matcher for plan in wanted if plan.sequence.matcher is not None], len(plans), step_s)
        masks: dict[int, Mask] = {}
        late = set()
        for plan in wanted:
            matcher = plan.sequence.matcher
            assert matcher is not None
            if not matcher.is_ready:
                matcher.compiled.is_late = True
                late.add(plan.sequence)
                continue
            try:
                masks[plan.wanted.samplings[0].row] = matcher.next_mask()
            except MatcherFailed as error:
                self._fail(plan.sequence.group, error)
        forbid(logits, masks)
        self._num_late += len(late)
        self._count(time.perf_counter() - began)
        return frozenset(late)

    def begin_masks(self, sequences: abc.Iterable[Sequence]) -> None:
        """Begin to compute the next masks of all sequences of the same requests that have gone on by a token."""
        groups = dict.fromkeys(sequence.group for sequence in sequences if sequence.matcher is not None)
        self.masks.fill(
            one.matcher
            for group in groups
            for one in group.sequences
            if one.matcher is not None and one.matcher.is_stale and not one.is_finished
        )

    def wait(self) -> None:
        """Wait for some mask, where a step has nothing else to do. A message is taken up after 5 ms at most."""
        self.masks.wait_for_one(_IDLE_WAIT_S)

    def _wait(self, matchers: abc.Sequence[Matcher], num_rows: int, step_s: float) -> None:
        missing = [one for one in matchers if not one.is_ready]
        if not missing:
            return
        share = len(missing) / num_rows
        wait_s = _LONG_WAIT_S if share == 1 else min(max(_SHORT_WAIT_S, share * step_s), _LONG_WAIT_S)
        self.masks.wait_for(missing, wait_s)

    def _count(self, hold_s: float) -> None:
        self._hold_s += hold_s
        self._num_steps[bisect_left(FORM_HOLD_BUCKETS_S, hold_s)] += 1


def _needs_mask(plan: StepRows) -> bool:
    samplings = plan.wanted.samplings
    is_sampled = bool(samplings) and samplings[0].forced is None
    return plan.sequence.matcher is not None and is_sampled and not plan.sequence.is_finished
