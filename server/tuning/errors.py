"""Errors of tuning. Their messages are written for the caller.

TuningError
├── ExamplesRefused        a file of examples is not usable; `line` says where, `code` what
├── PlanRefused            a hyperparameter is out of range or fits nothing; `param` names it
├── TuningUnsupported      this base model cannot be tuned in this way
├── CheckpointUnreadable   a saved state is damaged, or is another run's
├── RunNotKept             the file system refuses a run's state, or another process holds it
├── StudyFailed            the base model wrote too few different inputs itself
├── TeacherSilent          the teacher of a distillation answers nothing
├── EvaluationFailed       the engine could not answer the held-out examples; `code` says why
├── TuningDiverged         the numbers overflowed before anything was learnt
└── PlotsUnavailable       the library that draws is not installed, or failed
"""

from __future__ import annotations


class TuningError(Exception):
    """Base of all errors of tuning."""


class ExamplesRefused(TuningError):
    """A file of examples is not usable.

    `line` counts from 1. It is None for an error of the file as a whole. `code` is stable: `empty_file`,
    `file_too_large`, `too_many_examples`, `not_utf8`, `bad_line`, `mixed_forms`, `single_class`, `example_too_long`,
    `token_out_of_range`, `too_few_examples`, `too_many_labels`, `unknown_label`, `leakage`.
    """

    def __init__(self, message: str, *, code: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.code = code
        self.line = line


class PlanRefused(TuningError):
    """A hyperparameter is out of range, or contradicts another one."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(f"{param} {message}")
        self.param = param


class TuningUnsupported(TuningError):
    """The base model cannot be tuned in this way; the message says why."""


class CheckpointUnreadable(TuningError):
    """The saved state of a run is damaged, of another version of this program, or of another run."""


class RunNotKept(TuningError):
    """The state of a run cannot be written, read or removed, or another process holds the run."""


class TuningDiverged(TuningError):
    """Loss, gradient or virtual tokens became NaN or infinite before any validation improved on the first."""


class StudyFailed(TuningError):
    """The base model, asked to write the inputs of a distillation, wrote too few different ones."""


class TeacherSilent(TuningError):
    """Every answer of a distillation's teacher is empty, so there is nothing to learn."""


class EvaluationFailed(TuningError):
    """The engine could not answer the held-out examples.

    `code` is stable: `numbers_overflow`, `request_refused`, `engine_overloaded` or `engine_failed`. The cause is
    chained.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class PlotsUnavailable(TuningError):
    """matplotlib, which draws the plot, is not installed, or could not draw it."""
