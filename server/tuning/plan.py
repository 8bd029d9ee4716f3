"""Plan of a run: the method and its hyperparameters, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from prompts_store.checkpoint_records import TaskType
from server.tuning.errors import PlanRefused

AUTO: Literal["auto"] = "auto"
_NUM_DEFAULT_EPOCHS, _MAX_DEFAULT_STEPS, _NUM_DEFAULT_EXTENSIONS = 3, 2000, 2


class Method(StrEnum):
    """Method of tuning, with the values of PEFT's `adapter_config.json`.

    `CARTRIDGE` is prefix tuning whose first row stays as it began: it is an attention sink (Eyuboglu et al. 2025).
    """

    PROMPT_TUNING = "PROMPT_TUNING"
    P_TUNING = "P_TUNING"
    PREFIX_TUNING = "PREFIX_TUNING"
    CARTRIDGE = "CARTRIDGE"


class Initialisation(StrEnum):
    """Initial values of the virtual tokens.

    `RANDOM` is PEFT's own: embeddings drawn from N(0, 1). `SAMPLE_VOCAB` takes the embeddings of random tokens, `TEXT`
    those of `init_text`. `LABELS` takes those of the examples' labels in a row (class labels in Lester et al. 2021).
    A text is repeated or cut to `num_virtual_tokens`. For PREFIX_TUNING and CARTRIDGE, `TEXT` and `LABELS` give the
    keys and values that the base model computes from the text. The encoder of P_TUNING always starts at random.
    `INSTRUCTION` is of these two in a distillation: keys and values of evenly spaced tokens of the instruction, which
    have read all of it before them.
    """

    RANDOM = "RANDOM"
    SAMPLE_VOCAB = "SAMPLE_VOCAB"
    TEXT = "TEXT"
    LABELS = "LABELS"
    INSTRUCTION = "INSTRUCTION"


class Optimizer(StrEnum):
    """AdamW without weight decay by default, or Adafactor without parameter scaling (Lester et al. 2021)."""

    ADAMW = "ADAMW"
    ADAFACTOR = "ADAFACTOR"


class Defaults(StrEnum):
    """Rules for what a plan leaves open. A job keeps the rules of the release that created it.

    `FIRST`: a default length of at least 200 steps, no extensions, keys and values that start at random unless a text
    is given. `SECOND`: at least 400 steps, two extensions, keys and values that start from tokens.
    """

    FIRST = "first"
    SECOND = "second"


_MIN_DEFAULT_STEPS = {Defaults.FIRST: 200, Defaults.SECOND: 400}


class Schedule(StrEnum):
    """Learning rate after the warm-up: constant, or falling to zero."""

    CONSTANT = "CONSTANT"
    LINEAR = "LINEAR"
    COSINE = "COSINE"


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """Everything that decides a run besides its data and its base model.

    A run takes `num_steps` optimiser steps, or `num_epochs` passes over the examples. With neither it takes 3 epochs,
    but at least 400 and at most 2,000 steps. A run that still improves at its end is extended by half of these steps,
    at most `max_extensions` times (None: twice if the length is the default, else never; see `schedule.py`).
    A step takes `batch_size` examples. They go through the model in micro-batches of at most `max_micro_batch_tokens`
    positions: the virtual tokens once, and the tokens of each example. The gradients of these are added, so gradient
    accumulation has no setting of its own. `learning_rate` None is the method's default; "auto" tries several rates
    around it first (see `rates.py`). `learning_rate_multiplier` multiplies the default (None: 1), and excludes
    `learning_rate`.
    A validation follows every `validate_every` steps (None: twelve per run). The result is the state with the best
    validation. After `patience` validations without a better one the run ends (None: never early).
    `encoder_hidden_size` is that of P_TUNING's encoder (None: the base model's hidden size). `task_type` is None for
    the texts that the base model generates (see `task_choice.py`). The same plan, data and base model give the same
    soft prompt, bit for bit, on the same kind of CPU.
    """

    method: Method = Method.PROMPT_TUNING
    initialisation: Initialisation = Initialisation.SAMPLE_VOCAB
    init_text: str | None = None
    num_virtual_tokens: int = 16
    encoder_hidden_size: int | None = None
    num_steps: int | None = None
    num_epochs: float | None = None
    batch_size: int = 16
    max_micro_batch_tokens: int = 512
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float | Literal["auto"] | None = None
    learning_rate_multiplier: float | None = None
    schedule: Schedule = Schedule.LINEAR
    warmup_steps: int = 10
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    validate_every: int | None = None
    patience: int | None = 6
    seed: int = 0
    max_extensions: int | None = None
    defaults: Defaults = Defaults.SECOND
    task_type: TaskType | None = None

    @property
    def has_head(self) -> bool:
        """Whether a head is trained with the soft prompt, and answers in place of generated text."""
        return self.task_type is not None and self.task_type.has_head

    @property
    def is_key_values(self) -> bool:
        """Whether the soft prompt holds keys and values, not embeddings."""
        return self.method in (Method.PREFIX_TUNING, Method.CARTRIDGE)

    def __post_init__(self) -> None:
        """Raise `PlanRefused`."""
        _check_counts(self)
        if self.num_steps is not None and self.num_epochs is not None:
            raise PlanRefused("and num_steps say the same thing twice: give one of them", param="num_epochs")
        if self.num_epochs is not None and not (math.isfinite(self.num_epochs) and 0 < self.num_epochs <= 1000):
            raise PlanRefused("is above 0 and at most 1000", param="num_epochs")
        rate = self.learning_rate
        if isinstance(rate, str) and rate != AUTO:
            raise PlanRefused('is a number or "auto"', param="learning_rate")
        if isinstance(rate, int | float) and not (math.isfinite(rate) and 0 < rate <= 100):
            raise PlanRefused("is above 0 and at most 100", param="learning_rate")
        multiplier = self.learning_rate_multiplier
        if multiplier is not None and rate is not None:
            raise PlanRefused("multiplies the default, and learning_rate replaces it", param="learning_rate_multiplier")
        if multiplier is not None and not (math.isfinite(multiplier) and 0 < multiplier <= 1000):
            raise PlanRefused("is above 0 and at most 1000", param="learning_rate_multiplier")
        if not (math.isfinite(self.weight_decay) and 0 <= self.weight_decay <= 1):
            raise PlanRefused("is from 0 to 1", param="weight_decay")
        if not (math.isfinite(self.max_grad_norm) and self.max_grad_norm > 0):
            raise PlanRefused("is above 0", param="max_grad_norm")
        if self.initialisation is Initialisation.TEXT and not (self.init_text or "").strip():
            raise PlanRefused("is needed where the initialisation is TEXT", param="init_text")
        if self.defaults is Defaults.FIRST:
            self._follow_the_first_rules()
        elif self.max_extensions is None:
            is_default_length = self.num_steps is None and self.num_epochs is None
            object.__setattr__(self, "max_extensions", _NUM_DEFAULT_EXTENSIONS if is_default_length else 0)

    def _follow_the_first_rules(self) -> None:
        if self.max_extensions:
            raise PlanRefused("is 0 in a plan of an earlier release", param="max_extensions")
        object.__setattr__(self, "max_extensions", 0)
        if self.method is Method.PREFIX_TUNING and self.initialisation is Initialisation.SAMPLE_VOCAB:
            object.__setattr__(self, "initialisation", Initialisation.RANDOM)

    def steps_for(self, num_examples: int) -> int:
        """Number of optimiser steps over this many training examples, without extensions."""
        if self.num_steps is not None:
            return self.num_steps
        steps_per_epoch = num_examples / self.batch_size
        if self.num_epochs is not None:
            return max(1, math.ceil(self.num_epochs * steps_per_epoch))
        epochs = math.ceil(_NUM_DEFAULT_EPOCHS * steps_per_epoch)
        return min(_MAX_DEFAULT_STEPS, max(_MIN_DEFAULT_STEPS[self.defaults], epochs))

    def max_positions(self, longest: int) -> int:
        """Maximum number of positions of a micro-batch, where the longest example has this many tokens."""
        together = min(self.max_micro_batch_tokens, self.num_virtual_tokens + self.batch_size * longest)
        return max(self.num_virtual_tokens + longest, together)


def check_all_used(plan: TuningPlan) -> None:
    """Raise `PlanRefused` for a value that has no effect with the rest of the plan.

    Only new plans are checked, so that the jobs of an earlier release continue.
    """
    if plan.encoder_hidden_size is not None and plan.method is not Method.P_TUNING:
        raise PlanRefused(f"is of P_TUNING's encoder, and {plan.method} has none", param="encoder_hidden_size")
    if plan.method is Method.CARTRIDGE and plan.num_virtual_tokens == 1:
        raise PlanRefused("is 1, and the first row of a CARTRIDGE is not trained", param="num_virtual_tokens")
    if plan.init_text is not None and plan.initialisation is not Initialisation.TEXT:
        raise PlanRefused("goes with the initialisation TEXT only", param="init_text")
    if plan.method is Method.P_TUNING and plan.initialisation in (Initialisation.TEXT, Initialisation.LABELS):
        raise PlanRefused(f"is {plan.initialisation}, and P_TUNING always begins at random", param="initialisation")


def _check_counts(plan: TuningPlan) -> None:
    for param, low, high in _RANGES:
        value = getattr(plan, param)
        if value is not None and not low <= value <= high:
            raise PlanRefused(f"is from {low} to {high}", param=param)


_RANGES = (
    ("num_virtual_tokens", 1, 4096),
    ("encoder_hidden_size", 1, 65536),
    ("num_steps", 1, 1_000_000),
    ("batch_size", 1, 4096),
    ("max_micro_batch_tokens", 16, 1_048_576),
    ("warmup_steps", 0, 1_000_000),
    ("validate_every", 1, 1_000_000),
    ("patience", 1, 1_000_000),
    ("seed", 0, 2**31 - 1),
    ("max_extensions", 0, 10),
)


def new_plan(fields: Mapping[str, Any], *, is_distillation: bool = False) -> TuningPlan:
    """Make the plan that a person asks for, by the rules of this release.

    An `init_text` implies the initialisation TEXT. Raises `PlanRefused` for values out of range, for unknown fields,
    and for a value without effect.
    """
    given = dict(fields)
    if given.get("init_text") is not None and given.get("method") != Method.P_TUNING:
        given.setdefault("initialisation", Initialisation.TEXT)
    if "defaults" in given:
        raise PlanRefused("is not a hyperparameter", param="defaults")
    plan = _parsed(given)
    check_all_used(plan)
    if plan.initialisation is Initialisation.INSTRUCTION and not is_distillation:
        raise PlanRefused("is INSTRUCTION, which a distillation alone has", param="initialisation")
    return plan


def plan_to_json(plan: TuningPlan) -> dict[str, Any]:
    """Convert every field to a JSON value; `plan_from_json` is the inverse.

    A plan by the first rules has the fields of the releases that had these rules, since digests of jobs cover them.
    `task_type` is there only if it is set, for the same reason.
    """
    fields = asdict(plan)
    if plan.task_type is None:
        del fields["task_type"]
    if plan.defaults is Defaults.FIRST:
        del fields["max_extensions"], fields["defaults"]
    return fields


def plan_from_json(fields: Mapping[str, Any]) -> TuningPlan:
    """Inverse of `plan_to_json`. A stored plan without rules has the first ones.

    Raises `PlanRefused` for values out of range and for unknown fields.
    """
    return _parsed({"defaults": Defaults.FIRST, **fields})


def _parsed(given: dict[str, Any]) -> TuningPlan:
    known = TuningPlan.__dataclass_fields__
    for name in given:
        if name not in known:
            raise PlanRefused("is not a hyperparameter", param=name)
    for name, kind in _KINDS.items():
        if name in given:
            try:
                given[name] = kind(given[name])
            except ValueError as error:
                raise PlanRefused(f"is one of {', '.join(kind)}", param=name) from error
    return TuningPlan(**given)


_KINDS: Mapping[str, type[StrEnum]] = {
    "method": Method,
    "initialisation": Initialisation,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "defaults": Defaults,
    "task_type": TaskType,
}
