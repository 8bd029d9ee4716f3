"""A tuning run: one bounded piece of work after another, so that an engine can serve in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prompts_store.records import Manifest
from server.model.base_model import LoadedModel
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.events import TuningEvent
from server.tuning.plan import TuningPlan
from server.tuning.split import TuningData


@dataclass(frozen=True, slots=True)
class TuningJob:
    """What a run is made of, besides the base model and its tokenizer.

    `manifest` is the one that the version will have: its template, `add_special_tokens` and labels decide what the
    model sees. `base_name` is written into `adapter_config.json`: one of the names of the store's base model.
    `end_token_id` is appended to completions (`answering.label_scores.end_token_id`).
    """

    plan: TuningPlan
    data: TuningData
    manifest: Manifest
    base_name: str
    end_token_id: int


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """What a finished run leaves.

    `config` and `tensors` are the two files as PEFT wrote them. `metrics` are JSON values for the version's manifest;
    `history` are all events. `best_step` is the step whose state this is.
    """

    config: bytes
    tensors: bytes
    metrics: Mapping[str, Any]
    history: tuple[TuningEvent, ...]
    best_step: int


class TuningRun:
    """One run. All methods belong to one thread (in the server: the engine's); nothing here waits.

    Building one encodes the examples and makes the twin and the soft prompt: seconds for many examples, no training.
    With `checkpoint`, what `checkpoint()` once gave, it goes on where that was taken.

    Raises `ExamplesRefused` (too long, no tokens), `TuningUnsupported`, and `CheckpointUnreadable` for a checkpoint
    that is damaged or was taken of another job.
    """

    def __init__(
        self, loaded: LoadedModel, tokenizer: Tokenizer, job: TuningJob, checkpoint: bytes | None = None
    ) -> None:
        raise NotImplementedError

    def advance(self) -> tuple[TuningEvent, ...]:
        """Do the next bounded piece: forward and backward of one micro-batch, one optimiser step, or one validation
        micro-batch. Answers what is to be told, mostly nothing.

        Raises `TuningDiverged`. Must not be called once `is_done`.
        """
        raise NotImplementedError

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to do, and `result` may be asked for."""
        raise NotImplementedError

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        raise NotImplementedError

    @property
    def num_steps(self) -> int:
        """Optimiser steps that there will be at most."""
        raise NotImplementedError

    def checkpoint(self) -> bytes:
        """The state after the latest whole optimiser step or validation (safetensors with JSON in its header).

        May be asked for at any time between two calls of `advance`; what is begun is done anew after a resume. A
        resumed run gives the same result, bit for bit on a CPU, as one that was never interrupted.
        """
        raise NotImplementedError

    def result(self) -> TuningResult:
        """The best state on validation, as a PEFT checkpoint."""
        raise NotImplementedError
