"""Whether a run's longest piece outlasts what its server allows, found out with short ones before it begins."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from server.tuning.encoding import EncodedExample
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.examples import Example
from server.tuning.plan import TuningPlan
from server.tuning.trainer import Pieces, Trainer

SHORT, LONG = 64, 128
"""Positions of the pieces that are measured."""

_FORWARD_SHARE = 0.25
"""Of a piece's time, its forward pass: layers are computed again, and the backward pass is about twice as long."""


@dataclass(frozen=True, slots=True)
class PieceTime:
    """The seconds that a piece of `SHORT` positions took, and one of `LONG`."""

    short_s: float
    long_s: float

    def of(self, num_positions: int) -> float:
        """Seconds that a piece of `LONG` positions or more takes at least.

        What comes beside those of the long one grows in proportion; that attention grows faster is left out.
        """
        slope_s = max(0.0, self.long_s - self.short_s) / (LONG - SHORT)
        return self.long_s + slope_s * max(0, num_positions - LONG)


def check_longest(
    trainer: Trainer,
    plan: TuningPlan,
    examples: Sequence[Example],
    encoded: Sequence[EncodedExample],
    judged: Sequence[EncodedExample],
    max_s: float,
) -> Pieces[None]:
    """Measure two short pieces, and raise `ExamplesRefused` or `PlanRefused` where the longest would outlast `max_s`.

    `judged` are the held-out ones of a validation. Nothing is measured where no piece is longer than those.
    """
    longest, line = max((one.num_tokens, example.line) for example, one in zip(examples, encoded, strict=True))
    width = plan.num_virtual_tokens + longest
    num_positions = max(width, min(plan.max_micro_batch_tokens, plan.batch_size * width))
    judged_width = plan.num_virtual_tokens + max(one.num_tokens for one in judged)
    if max(num_positions, judged_width) <= LONG:
        return
    taken = yield from _measure(trainer, plan, encoded[0])
    limit = f"this server ends itself after {max_s:g} s without progress: raise --engine-timeout-s, or"
    if (needed_s := taken.of(width)) > max_s:
        message = f"takes {width} positions with its virtual tokens, and at least {needed_s:.3g} s at once; {limit}"
        raise ExamplesRefused(f"{message} shorten it", code="example_too_long", line=line)
    if (needed_s := _FORWARD_SHARE * taken.of(judged_width)) > max_s:
        message = f"a held-out example takes {judged_width} positions, and at least {needed_s:.3g} s at once; {limit}"
        raise ExamplesRefused(f"{message} shorten it", code="example_too_long")
    if (needed_s := taken.of(num_positions)) > max_s:
        message = f"lets {num_positions} positions be computed at once, at least {needed_s:.3g} s; {limit} lower it"
        raise PlanRefused(f"(--tuning-micro-batch-tokens) {message}", param="max_micro_batch_tokens")


def _measure(trainer: Trainer, plan: TuningPlan, example: EncodedExample) -> Pieces[PieceTime]:
    found = []
    for num_positions in (SHORT, LONG):
        text = (example.prompt * num_positions)[: max(1, num_positions - plan.num_virtual_tokens - 1)]
        piece = EncodedExample(text, example.completion[:1])
        best_s = math.inf
        for _ in range(2):  # the first may be slowed down by what is in no cache yet
            began = time.perf_counter()
            yield from trainer.accumulate([piece])
            best_s = min(best_s, time.perf_counter() - began)
            yield
        found.append(best_s)
    trainer.forget_gradient()
    return PieceTime(*found)
