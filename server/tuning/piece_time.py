"""Time of a run's longest piece, estimated from two short pieces before the training starts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.tuning.encoding import EncodedExample
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.example_line import Example
from server.tuning.plan import TuningPlan
from server.tuning.trainer import Pieces, Trainer

SHORT, LONG = 64, 128
"""Positions of the two measured pieces, where the texts of the run are long enough."""

_FORWARD_SHARE = 0.25
"""Share of the forward pass in a piece, at least: layers may run once more, and the backward pass takes longer."""


@dataclass(frozen=True, slots=True)
class PieceTime:
    """Seconds of a piece of `short` positions, and of one of `long` positions."""

    short_s: float
    long_s: float
    short: int = SHORT
    long: int = LONG

    def of(self, num_positions: int) -> float:
        """Minimum seconds of a piece of `long` positions or more.

        The time grows linearly from the long piece on. Attention grows faster, so the real time is longer.
        """
        slope_s = max(0.0, self.long_s - self.short_s) / max(1, self.long - self.short)
        return self.long_s + slope_s * max(0, num_positions - self.long)


def check_longest(
    trainer: Trainer,
    plan: TuningPlan,
    examples: Sequence[Example],
    encoded: Sequence[EncodedExample],
    judged: Sequence[EncodedExample],
    max_s: float,
) -> Pieces[None]:
    """Measure two short pieces. Raise `ExamplesRefused` or `PlanRefused` if the longest piece takes more than `max_s`.

    `judged` are the held-out examples of a validation. If no piece has more than `LONG` positions, nothing is measured.
    """
    longest, line = max((one.num_tokens, example.line) for example, one in zip(examples, encoded, strict=True))
    width = plan.num_virtual_tokens + longest
    num_positions = plan.max_positions(longest)
    judged_width = plan.num_virtual_tokens + max(one.num_tokens for one in judged)
    if max(num_positions, judged_width) <= LONG:
        return
    # A text of this length fits into the context of the base model: one of the run has it.
    fitting = max(len(part) for one in (*encoded, *judged) for part in (one.prompt, one.completion))
    taken = yield from _measure(trainer, plan, encoded[0], plan.num_virtual_tokens + fitting)
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


def _measure(trainer: Trainer, plan: TuningPlan, example: EncodedExample, max_positions: int) -> Pieces[PieceTime]:
    long = min(LONG, max_positions)
    short = min(SHORT, long // 2)
    found = []
    for num_positions in (short, long):
        text = (example.prompt * num_positions)[: max(1, num_positions - plan.num_virtual_tokens - 1)]
        piece = replace(example, prompt=text, completion=example.completion[:1])
        best_s = math.inf
        for _ in range(2):  # the first is slower, because no cache is filled yet
            began = time.perf_counter()
            yield from trainer.accumulate([piece])
            best_s = min(best_s, time.perf_counter() - began)
            yield
        found.append(best_s)
    trainer.drop_gradient()
    return PieceTime(found[0], found[1], short, long)
