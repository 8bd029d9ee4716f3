"""A tuning run: one bounded piece of work after another, so that an engine can serve in between."""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from prompts_store.manifest import Manifest
from server.model.base_model import LoadedModel
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample, encode_examples
from server.tuning.errors import TuningDiverged
from server.tuning.events import Finished, RateChosen, RateTried, StepDone, TuningEvent, Validated
from server.tuning.examples import Example
from server.tuning.forward import TuningModel
from server.tuning.optimizer import rate_at
from server.tuning.order import ExampleOrder
from server.tuning.piece_time import check_longest
from server.tuning.plan import AUTO, TuningPlan
from server.tuning.rates import NUM_SWEEP_STEPS, SWEEP, best_rate, default_rate, try_rate
from server.tuning.run_state import Best, Progress, Saved, job_digest, pack, unpack
from server.tuning.split import TuningData
from server.tuning.trainer import Pieces, Trainer
from server.tuning.watch import warnings

MAX_VALIDATED = 128
"""A validation takes a sample of so many examples at most; `evaluation.py` judges by all."""

_NUM_VALIDATIONS = 12
_INITIAL, _BEST, _NOW, _STATE = "initial", "best", "now", "optimizer."
"""Names of a state's tensors: two matrices `[num_virtual_tokens, …]`, each parameter, and what the optimiser knows."""
_Found = TypeVar("_Found")

Events = tuple[TuningEvent, ...]


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
    """What a run leaves.

    `config` and `tensors` are the two files as PEFT wrote them. `metrics` are JSON values for the version's manifest;
    `history` are the events, of a very long run evenly thinned. `best_step` is the step whose state this is.
    """

    config: bytes
    tensors: bytes
    metrics: Mapping[str, Any]
    history: Events
    best_step: int


class TuningRun:
    """One run. All methods belong to one thread (in the server: the engine's); nothing here waits.

    Building one encodes the examples and makes the twin and the soft prompt: seconds for many examples, no training.
    With `checkpoint`, what `checkpoint()` once gave, it goes on where that was taken. `max_piece_s` is how long a piece
    may take at most: the first pieces then find out whether one would take longer.

    Raises `ExamplesRefused` (too long, no tokens), `PlanRefused` (an initialisation without tokens),
    `TuningUnsupported`, and `CheckpointUnreadable` for a checkpoint that is damaged or was taken of another job.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        job: TuningJob,
        checkpoint: bytes | None = None,
        *,
        max_piece_s: float | None = None,
    ) -> None:
        self._job = job
        self._plan = plan = job.plan
        room = loaded.architecture.max_context - plan.num_virtual_tokens
        self._training = _encode(tokenizer, job, job.data.training, room)
        self._validation = _sample(_encode(tokenizer, job, job.data.validation, room), plan.seed)
        model = TuningModel(loaded, tokenizer, plan, job.data.labels)
        self._prompt = model.prompt
        self._device = model.device
        self._trainer = Trainer(model, plan)
        self._initial_matrix = self._prompt.matrix()
        self._best_matrix = self._initial_matrix.clone()
        self._progress = Progress()
        self._digest = job_digest(plan, job.manifest, [*self._training, *self._validation], _identity(loaded))
        self.num_steps = _num_steps(plan, len(self._training))
        if checkpoint is not None:
            self._restore(checkpoint)
        self._initial = self._trainer.values() if self._progress.learning_rate is None else []
        self._order = ExampleOrder(len(self._training), plan.batch_size, plan.seed, first_step=self.step)
        self._max_piece_s = max_piece_s
        self._pieces = self._work()

    def advance(self) -> Events:
        """Do the next bounded piece: forward and backward of one micro-batch, the optimiser step with the last one, or
        one validation micro-batch. Answers what is to be told, mostly nothing.

        Raises `TuningDiverged`, and `ExamplesRefused` or `PlanRefused` where a piece would take too long. Must not be
        called once `is_done`.
        """
        return next(self._pieces)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to do."""
        return self._progress.finished is not None

    @property
    def step(self) -> int:
        """Optimiser steps done, of at most `num_steps`."""
        return self._progress.step

    @property
    def history(self) -> Events:
        """The events so far, those before a resume included; of very many steps or validations evenly fewer."""
        return tuple(self._progress.history.events)

    def checkpoint(self) -> bytes:
        """The state after the latest whole optimiser step or validation (safetensors with JSON in its header).

        May be asked for at any time between two calls of `advance`; what is begun is done anew after a resume. A
        resumed run gives the same result, bit for bit on a CPU, as one that was never interrupted.

        The parameters are in it once, beside the optimiser's moments: an encoder's take hundreds of megabytes.
        """
        is_begun = self._progress.learning_rate is not None  # before that, the sweep plays with the parameters
        now = self._prompt.parameters if is_begun else self._initial
        state = self._trainer.optimizer_state() if is_begun else {}
        tensors = {_INITIAL: self._initial_matrix, _BEST: self._best_matrix}
        tensors |= {f"{_NOW}.{index}": value for index, value in enumerate(now)}
        tensors |= {f"{_STATE}{name}": value for name, value in state.items()}
        return pack(self._digest, self._progress, tensors)

    def result(self) -> TuningResult:
        """The best state on validation so far, as a PEFT checkpoint."""
        config, tensors = self._prompt.save(self._job.base_name, self._best_matrix)
        best_step = 0 if self._progress.best is None else self._progress.best.step
        return TuningResult(config, tensors, self._metrics(), self.history, best_step)

    # --- the work, piece by piece -------------------------------------------------------------------------------------

    def _work(self) -> Iterator[Events]:
        progress = self._progress
        if self._max_piece_s is not None and progress.finished is None:
            examples, encoded = self._job.data.training, self._training
            judged, max_s = self._validation, self._max_piece_s
            yield from _silently(check_longest(self._trainer, self._plan, examples, encoded, judged, max_s))
        if progress.learning_rate is None:
            yield from self._choose_rate()
        while progress.finished is None:
            if progress.validated_step != progress.step and self._validation_is_due():
                yield from self._validate()
            elif progress.step == self.num_steps:
                yield self._finish("steps")
            elif self._plan.patience is not None and progress.num_stale >= self._plan.patience:
                yield self._finish("early_stop")
            else:
                yield from self._train_step()

    def _validation_is_due(self) -> bool:
        every = self._plan.validate_every or max(1, self.num_steps // _NUM_VALIDATIONS)
        return self._progress.step % every == 0 or self._progress.step == self.num_steps

    def _train_step(self) -> Iterator[Events]:
        progress = self._progress
        assert progress.learning_rate is not None
        rate = progress.learning_rate * rate_at(self._plan, progress.step, self.num_steps)
        before = self._prompt.matrix()
        batch = self._batch(progress.step)
        loss = yield from _silently(self._trainer.accumulate(batch))
        grad_norm = self._trainer.update(rate)
        after = self._prompt.matrix()
        done = StepDone(
            step=progress.step + 1,
            num_steps=self.num_steps,
            loss=loss,
            learning_rate=rate,
            grad_norm=grad_norm,
            update_ratio=_ratio(after - before, before),
            distance=_ratio(after - self._initial_matrix, self._initial_matrix),
            num_tokens=sum(example.num_tokens for example in batch),
        )
        if not all(map(math.isfinite, (loss, grad_norm, done.update_ratio, done.distance))):
            yield self._give_up()
            return
        progress.step += 1
        yield self._tell(done)

    def _validate(self) -> Iterator[Events]:
        progress = self._progress
        found = yield from _silently(self._trainer.judge(self._validation))
        if not math.isfinite(found.loss):
            yield self._give_up()
            return
        best = progress.best
        is_best = best is None or (found.exact_match, -found.loss) > (best.exact_match, -best.loss)
        progress.validated_step = progress.step
        if is_best:
            progress.best = Best(progress.step, found.loss, found.token_accuracy, found.exact_match)
            progress.num_stale = 0
            self._best_matrix = self._prompt.matrix()
        else:
            progress.num_stale += 1
        yield self._tell(Validated(progress.step, found.loss, found.token_accuracy, found.exact_match, is_best=is_best))

    def _choose_rate(self) -> Iterator[Events]:
        default = default_rate(self._plan.method, self._prompt.parameters)
        given = self._plan.learning_rate
        tried: list[RateTried] = []
        for factor in SWEEP if given == AUTO else ():
            batches = (self._batch(step) for step in range(min(NUM_SWEEP_STEPS, self.num_steps)))
            one = yield from _silently(try_rate(self._trainer, default * factor, batches, self._validation))
            self._trainer.begin_anew(self._initial)
            tried.append(one)
            yield (one,)
        if tried:
            rate = best_rate(tried)
        elif isinstance(given, int | float):
            rate = given
        else:
            rate = default * (self._plan.learning_rate_multiplier or 1.0)
        for one in tried:
            self._progress.history.add(one)
        self._progress.learning_rate = rate
        self._initial = []  # of an encoder as large as all else that it has
        yield self._tell(RateChosen(rate))

    def _batch(self, step: int) -> list[EncodedExample]:
        return [self._training[index] for index in self._order.of_step(step)]

    # --- telling and remembering --------------------------------------------------------------------------------------

    def _tell(self, event: TuningEvent) -> Events:
        history = self._progress.history
        history.add(event)
        said = warnings(history)
        for warning in said:
            history.add(warning)
        return (event, *said)

    def _finish(self, reason: str) -> Events:
        progress = self._progress
        progress.finished = reason
        return self._tell(Finished(progress.step, reason, 0 if progress.best is None else progress.best.step))

    def _give_up(self) -> Events:
        best = self._progress.best
        if best is None or best.step == 0:
            raise TuningDiverged("the numbers became infinite before anything was learnt: try a lower learning rate")
        return self._finish("diverged")

    def _metrics(self) -> dict[str, Any]:
        progress, plan, data = self._progress, self._plan, self._job.data
        best = progress.best
        return {
            "method": plan.method.value,
            "initialisation": plan.initialisation.value,
            "num_training_examples": len(data.training),
            "num_validation_examples": len(data.validation),
            "num_steps": progress.step,
            "best_step": 0 if best is None else best.step,
            "learning_rate": progress.learning_rate,
            "learning_rate_multiplier": plan.learning_rate_multiplier,
            "seed": plan.seed,
            "validation_loss": None if best is None else best.loss,
            "validation_token_accuracy": None if best is None else best.token_accuracy,
            "validation_exact_match": None if best is None else best.exact_match,
        }

    def _restore(self, checkpoint: bytes) -> None:
        saved = unpack(checkpoint, self._digest)
        self._initial_matrix, self._best_matrix = (self._saved_matrix(saved, kind) for kind in (_INITIAL, _BEST))
        self._trainer.set_values(self._saved_values(saved, _NOW))
        state = {name.removeprefix(_STATE): value for name, value in saved.tensors.items() if name.startswith(_STATE)}
        self._trainer.restore_optimizer(state)
        self._progress = saved.progress

    def _saved_matrix(self, saved: Saved, kind: str) -> torch.Tensor:
        """One of the two matrices. States were once saved with all the parameters that made them."""
        if kind in saved.tensors:
            return saved.tensors[kind].to(self._device)
        self._trainer.set_values(self._saved_values(saved, kind))
        return self._prompt.matrix()

    def _saved_values(self, saved: Saved, kind: str) -> list[torch.Tensor]:
        return [saved.tensors[f"{kind}.{index}"] for index in range(len(self._prompt.parameters))]


def _silently(pieces: Pieces[_Found]) -> Generator[Events, None, _Found]:
    """Work that has nothing to tell between its pieces."""
    while True:
        try:
            next(pieces)
        except StopIteration as done:
            found: _Found = done.value
            return found
        yield ()


def _encode(tokenizer: Tokenizer, job: TuningJob, examples: Sequence[Example], room: int) -> tuple[EncodedExample, ...]:
    return encode_examples(tokenizer, job.manifest, examples, end_token_id=job.end_token_id, max_tokens=room)


def _sample(examples: Sequence[EncodedExample], seed: int) -> list[EncodedExample]:
    indices = random.Random(seed).sample(range(len(examples)), min(MAX_VALIDATED, len(examples)))
    return [examples[index] for index in sorted(indices)]


def _num_steps(plan: TuningPlan, num_examples: int) -> int:
    if plan.num_steps is not None:
        return plan.num_steps
    an_epoch = num_examples / plan.batch_size
    if plan.num_epochs is not None:
        return max(1, math.ceil(plan.num_epochs * an_epoch))
    return min(2000, max(200, math.ceil(3 * an_epoch)))


def _ratio(change: torch.Tensor, of: torch.Tensor) -> float:
    return float(change.norm() / of.norm().clamp_min(1e-12))


def _identity(loaded: LoadedModel) -> list[object]:
    """What tells base models apart well enough for a checkpoint: their numbers (the store knows the fingerprint)."""
    architecture = loaded.architecture
    return [architecture.hidden_size, architecture.num_layers, architecture.vocab_size, str(loaded.dtype)]
