"""How near a student is to its teacher, and what it saves."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from server.tuning.encoding import EncodedExample
from server.tuning.events import TuningEvent, Validated
from server.tuning.plan import TuningPlan
from server.tuning.run_state import Best
from server.tuning.teaching import Answer


def fidelity(best: Best | None, events: Sequence[TuningEvent]) -> dict[str, Any]:
    """Agreement and divergence on the held-out inputs, at the start and at the best validation.

    `agreement` is the share of the tokens of the teacher's answers at which teacher and student have the same most
    likely token. `divergence` is the mean KL(teacher || student) per token, in nats.
    """
    start = next((event for event in events if isinstance(event, Validated)), None)
    return {
        "agreement": None if best is None else best.token_accuracy,
        "agreement_at_start": None if start is None else start.token_accuracy,
        "divergence": None if best is None else best.loss,
        "divergence_at_start": None if start is None else start.loss,
    }


def savings(plan: TuningPlan, encoded: Sequence[EncodedExample], answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Mean tokens of a request's prompt before and after. Those of a soft prompt are in the KV cache already."""
    before = statistics.fmean(len(example.teacher) for example in encoded)
    after = statistics.fmean(len(example.prompt) for example in encoded)
    return {
        "num_empty_answers": sum(not answer.text.strip() for answer in answers.values()),
        "prompt_tokens_before": round(before, 1),
        "prompt_tokens_after": round(after, 1),
        "num_virtual_tokens": plan.num_virtual_tokens,
        "tokens_saved": round(before - after - plan.num_virtual_tokens, 1),
    }
