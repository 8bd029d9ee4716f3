"""A tuning run: bounded pieces of work, so that an engine can serve requests between two of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch

from server.model.base_model import LoadedModel
from server.model.heads.heads import Heads
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.fidelity import fidelity, savings
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.distillation.teacher import Teacher, shared_beginning
from server.tuning.encoding import EncodedExample, encode_examples
from server.tuning.errors import TuningDiverged
from server.tuning.events import Extended, Finished, RateChosen, RateTried, StepDone, TuningEvent, Validated
from server.tuning.example_line import Example
from server.tuning.job import TuningJob, TuningResult
from server.tuning.models.choice import build_model
from server.tuning.order import ExampleOrder
from server.tuning.piece_time import check_longest
from server.tuning.plan import AUTO
from server.tuning.rates import NUM_SWEEP_STEPS, SWEEP, best_rate, default_rate, head_factor, try_rate
from server.tuning.run_state import Best, Matrices, Progress, RunTensors, job_digest, pack, restore
from server.tuning.schedule import RunSchedule
from server.tuning.task_choice import answer_form
from server.tuning.trainer import Pieces, Trainer, ValidationScores
from server.tuning.watch import warnings

MAX_VALIDATED = 128
"""Maximum number of examples in a validation, which takes a sample; `evaluation.py` scores all of them."""

_Found = TypeVar("_Found")

Events = tuple[TuningEvent, ...]


class TuningRun:
    """One run. All methods belong to one thread, in the server the engine's; none of them waits.

    The constructor encodes the examples and makes the twin and the soft prompt, which takes seconds for many examples.
    With `checkpoint`, a result of `checkpoint()`, the run resumes from it. `max_piece_s` is the maximum time of a
    piece: the first pieces measure whether a later one would exceed it. `memory_bytes` is the maximum memory of the
    run; None is a share of what is left. `heads` are those of the base model, for a run that trains one.

    Raises `ExamplesRefused` (too long, no tokens), `PlanRefused` (an initialisation without tokens),
    `TuningUnsupported`, and `CheckpointUnreadable` for a checkpoint that is damaged or of another job.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        job: TuningJob,
        checkpoint: bytes | None = None,
        *,
        max_piece_s: float | None = None,
        memory_bytes: int | None = None,
        heads: Heads | None = None,
    ) -> None:
        self._job = job
        self._plan = plan = job.plan
        encode = _encoding(loaded, tokenizer, job)
        self._training = encode(job.data.training)
        self._validation = _sample(encode(job.data.validation), plan.seed)
        labels = job.manifest.labels if plan.has_head else job.data.labels
        encoded = [*self._training, *self._validation]
        instruction = () if job.distillation is None else shared_beginning(encoded)
        model = build_model(loaded, tokenizer, plan, labels, memory_bytes, heads, instruction)
        self._prompt = prompt = model.prompt
        factor = head_factor(plan, prompt.prompt_parameters, loaded.architecture.hidden_size) if plan.has_head else 1.0
        self._trainer = Trainer(model, plan, factor)
        self._progress = Progress()
        self._digest = job_digest(plan, job.manifest, encoded, _identity(loaded))
        self._schedule = RunSchedule(plan, plan.steps_for(len(self._training)))
        if checkpoint is not None and job.distillation is not None:
            checkpoint = unpack_state(checkpoint).run
        if checkpoint is None:
            initial = self._prompt.matrix()
            self._matrices = Matrices(initial, initial.clone(), self._prompt.head_values())
        else:
            self._progress, self._matrices = restore(checkpoint, self._digest, self._trainer, self._prompt)
        self._initial = self._trainer.values() if self._progress.learning_rate is None else []
        self._order = ExampleOrder(len(self._training), plan.batch_size, plan.seed, first_step=self.step)
        self._max_piece_s = max_piece_s
        self._pieces = self._work()

    def advance(self) -> Events:
        """Do the next piece, and return its events, mostly none.

        A piece is the forward and backward pass of one micro-batch, with the optimiser step after the last one, or one
        micro-batch of a validation.

        Raises `TuningDiverged`, and `ExamplesRefused` or `PlanRefused` if a piece would take too long. Must not be
        called once `is_done`.
        """
        return next(self._pieces)

    @property
    def is_done(self) -> bool:
        """Whether the run has ended."""
        return self._progress.finished is not None

    @property
    def step(self) -> int:
        """Optimiser steps done, of at most `num_steps`."""
        return self._progress.step

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the run with its extensions so far."""
        return self._schedule.num_steps(self._progress.num_extensions)

    @property
    def history(self) -> Events:
        """Events so far, with those before a resume. Very many steps or validations are thinned out evenly."""
        return tuple(self._progress.history.events)

    def checkpoint(self) -> bytes:
        """State after the latest whole optimiser step or validation (safetensors with JSON in its header).

        May be called between any two calls of `advance`. A resumed run repeats the step or validation that was not
        finished. Its result is that of a run without an interruption, bit for bit on a CPU.

        The checkpoint has the parameters once, because an encoder's take hundreds of megabytes.
        """
        is_training = self._progress.learning_rate is not None  # until then, the search for a rate moves the parameters
        tensors = RunTensors(
            self._matrices,
            self._prompt.parameters if is_training else self._initial,
            self._trainer.optimizer_state() if is_training else {},
        )
        state = pack(self._digest, self._progress, tensors)
        if self._job.distillation is None:
            return state
        return pack_state(DistillationState(self._job.answers, state, self._job.drafts))

    def result(self) -> TuningResult:
        """The state with the best validation so far, as a PEFT checkpoint."""
        config, tensors = self._prompt.save(self._job.base_name, self._matrices.best, self._matrices.best_head)
        best_step = 0 if self._progress.best is None else self._progress.best.step
        return TuningResult(config, tensors, self._metrics(), self.history, best_step)

    # --- the work, piece by piece -------------------------------------------------------------------------------------

    def _work(self) -> Iterator[Events]:
        progress = self._progress
        if self._max_piece_s is not None and progress.finished is None:
            examples, encoded = self._job.data.training, self._training
            judged, max_s = self._validation, self._max_piece_s
            yield from _without_events(check_longest(self._trainer, self._plan, examples, encoded, judged, max_s))
        if progress.learning_rate is None:
            yield from self._choose_rate()
        while progress.finished is None:
            if progress.validated_step != progress.step and self._validation_is_due():
                yield from self._validate()
            elif progress.step == self.num_steps:
                yield self._extend_or_finish()
            elif self._plan.patience is not None and progress.num_stale >= self._plan.patience:
                yield self._finish("early_stop")
            else:
                yield from self._train_step()

    def _validation_is_due(self) -> bool:
        return self._schedule.validation_is_due(self._progress.step, self._progress.num_extensions)

    def _train_step(self) -> Iterator[Events]:
        progress = self._progress
        assert progress.learning_rate is not None
        rate = progress.learning_rate * self._schedule.rate_at(progress.step)
        before = self._prompt.matrix()
        batch = self._batch(progress.step)
        loss = yield from _without_events(self._trainer.accumulate(batch))
        grad_norm = self._trainer.update(rate)
        after = self._prompt.matrix()
        done = StepDone(
            step=progress.step + 1,
            num_steps=self.num_steps,
            loss=loss,
            learning_rate=rate,
            grad_norm=grad_norm,
            update_ratio=_ratio(after - before, before),
            distance=_ratio(after - self._matrices.initial, self._matrices.initial),
            num_tokens=sum(example.num_tokens for example in batch),
        )
        if not all(map(math.isfinite, (loss, grad_norm, done.update_ratio, done.distance))):
            yield self._give_up()
            return
        progress.step += 1
        yield self._report(done)

    def _validate(self) -> Iterator[Events]:
        progress = self._progress
        found = yield from _without_events(self._trainer.validate(self._validation))
        if not math.isfinite(found.loss):
            yield self._give_up()
            return
        best = progress.best
        is_best = best is None or self._rank(found) > self._rank(best)
        progress.validated_step = progress.step
        if is_best:
            progress.best = Best(progress.step, found.loss, found.token_accuracy, found.exact_match)
            progress.num_stale = 0
            self._matrices.best, self._matrices.best_head = self._prompt.matrix(), self._prompt.head_values()
        else:
            progress.num_stale += 1
        yield self._report(
            Validated(progress.step, found.loss, found.token_accuracy, found.exact_match, is_best=is_best)
        )

    def _rank(self, found: ValidationScores | Best) -> tuple[float, float]:
        """Order of validations: by whole answers, then by loss; of a distillation, by the divergence alone."""
        return 0.0 if self._job.distillation is not None else found.exact_match, -found.loss

    def _choose_rate(self) -> Iterator[Events]:
        default = default_rate(self._plan, self._prompt.prompt_parameters)
        given = self._plan.learning_rate
        tried: list[RateTried] = []
        for factor in SWEEP if given == AUTO else ():
            batches = (self._batch(step) for step in range(min(NUM_SWEEP_STEPS, self.num_steps)))
            one = yield from _without_events(try_rate(self._trainer, default * factor, batches, self._validation))
            self._trainer.restart(self._initial)
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
        self._initial = []  # an encoder's parameters are large
        yield self._report(RateChosen(rate))

    def _batch(self, step: int) -> list[EncodedExample]:
        return [self._training[index] for index in self._order.of_step(step)]

    # --- events and result --------------------------------------------------------------------------------------------

    def _report(self, event: TuningEvent) -> Events:
        history = self._progress.history
        history.add(event)
        warned = warnings(history)
        for warning in warned:
            history.add(warning)
        return (event, *warned)

    def _extend_or_finish(self) -> Events:
        progress = self._progress
        if not self._schedule.is_extended(progress.num_extensions, progress.history.events):
            return self._finish("steps")
        progress.num_extensions += 1
        return self._report(Extended(progress.step, self.num_steps))

    def _finish(self, reason: str) -> Events:
        progress = self._progress
        progress.finished = reason
        return self._report(Finished(progress.step, reason, 0 if progress.best is None else progress.best.step))

    def _give_up(self) -> Events:
        best = self._progress.best
        if best is None or best.step == 0:
            raise TuningDiverged("the numbers became infinite before anything was learnt: try a lower learning rate")
        return self._finish("diverged")

    def _metrics(self) -> dict[str, Any]:
        progress, plan, data = self._progress, self._plan, self._job.data
        best = progress.best
        metrics = {
            "method": plan.method.value,
            "initialisation": plan.initialisation.value,
            "num_training_examples": len(data.training),
            "num_validation_examples": len(data.validation),
            "num_steps": progress.step,
            "best_step": 0 if best is None else best.step,
            "learning_rate": progress.learning_rate,
            "learning_rate_multiplier": plan.learning_rate_multiplier,
            "seed": plan.seed,
        }
        if self._job.distillation is not None:
            encoded = [*self._training, *self._validation]
            return metrics | fidelity(best, self.history) | savings(plan, encoded, self._job.answers)
        return metrics | {
            "validation_loss": None if best is None else best.loss,
            "validation_token_accuracy": None if best is None else best.token_accuracy,
            "validation_exact_match": None if best is None else best.exact_match,
        }


def _without_events(pieces: Pieces[_Found]) -> Generator[Events, None, _Found]:
    """Run work that reports no events between its pieces, and return its result."""
    while True:
        try:
            next(pieces)
        except StopIteration as done:
            found: _Found = done.value
            return found
        yield ()


def _encoding(
    loaded: LoadedModel, tokenizer: Tokenizer, job: TuningJob
) -> Callable[[Sequence[Example]], Sequence[EncodedExample]]:
    """How the examples of a job are encoded."""
    if job.distillation is not None:
        teacher = Teacher(tokenizer, job.manifest, job.distillation)
        return lambda examples: [teacher.encode(one, job.answers[str(one.prompt)].token_ids) for one in examples]
    return partial(
        encode_examples,
        tokenizer,
        job.manifest,
        end_token_id=job.end_token_id,
        max_tokens=loaded.architecture.max_context - job.plan.num_virtual_tokens,
        form=answer_form(job.plan, loaded.architecture.kind),
        labels=job.manifest.labels,
    )


def _sample(examples: Sequence[EncodedExample], seed: int) -> list[EncodedExample]:
    indices = random.Random(seed).sample(range(len(examples)), min(MAX_VALIDATED, len(examples)))
    return [examples[index] for index in sorted(indices)]


def _ratio(change: torch.Tensor, of: torch.Tensor) -> float:
    return float(change.norm() / of.norm().clamp_min(1e-12))


def _identity(loaded: LoadedModel) -> list[object]:
    """Sizes of the base model, which identify it well enough for a checkpoint; the store has its fingerprint."""
    architecture = loaded.architecture
    return [architecture.hidden_size, architecture.num_layers, architecture.vocab_size, str(loaded.dtype)]
