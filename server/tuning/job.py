"""The input and the output of a tuning run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prompts_store.manifest import Manifest
from server.tuning.events import TuningEvent
from server.tuning.plan import TuningPlan
from server.tuning.split import TuningData
from server.tuning.teaching import Answer, Distillation


@dataclass(frozen=True, slots=True)
class TuningJob:
    """Input of a run, besides the base model and its tokenizer.

    `manifest` is the one that the version will have: its template, `add_special_tokens` and labels decide what the
    model sees. `base_name` is written into `adapter_config.json`: one of the names of the store's base model.
    `end_token_id` is appended to completions (`answering.label_scores.end_token_id`); None with a head.
    A job with a `distillation` has inputs in `data`, and the teacher's `answers` to them once these are written. Where
    the base model writes inputs itself, `drafts` has what it wrote, by number.
    """

    plan: TuningPlan
    data: TuningData
    manifest: Manifest
    base_name: str
    end_token_id: int | None
    distillation: Distillation | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    drafts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """Output of a run.

    `config` and `tensors` are the two files as PEFT wrote them. `metrics` are JSON values for the version's manifest.
    `history` holds the events; a very long run keeps an evenly spaced part of them. `best_step` is the step after which
    the soft prompt had the best validation.
    """

    config: bytes
    tensors: bytes
    metrics: Mapping[str, Any]
    history: tuple[TuningEvent, ...]
    best_step: int
