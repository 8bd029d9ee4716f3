"""`softprompt distil`: makes a version that answers as the base model does behind a long instruction or a document."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import FilesProblem, TuningProblem, UsageProblem
from server.cli.option_groups import takes_options
from server.cli.tuning.options import DistilPlanOptions, GateOptions, RunOptions, TaskOptions
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import WorkbenchOptions

if TYPE_CHECKING:
    from server.tuning.examples import ExampleSet
    from server.tuning.split import TuningData
    from server.tuning.teaching import Distillation


@dataclass(frozen=True, slots=True)
class DistilOptions:
    """The instruction with the inputs that the teacher answers, or a document about which it is asked."""

    instruction: Annotated[
        Path | None, typer.Option("--instruction", metavar="FILE", help="Text file that the soft prompt replaces.")
    ] = None
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs", metavar="FILE", help="Inputs: one per line of a .txt file, or JSONL with prompt or text."
        ),
    ] = None
    document: Annotated[
        Path | None,
        typer.Option(
            "--document", metavar="FILE", help="Text file about which the base model asks itself, without --inputs."
        ),
    ] = None
    questions: Annotated[
        int | None,
        typer.Option(
            "--questions", help="Number of questions about the document that the base model writes.", show_default="200"
        ),
    ] = None
    validation: Annotated[
        Path | None,
        typer.Option("--validation", metavar="FILE", help="Held-out inputs; by default a tenth is held out."),
    ] = None
    max_answer_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-answer-tokens", help="Maximum number of tokens of an answer of the teacher.", show_default="64"
        ),
    ] = None

    def distillation(self) -> Distillation:
        """Read the instruction or the document. Raises UsageProblem, FilesProblem and PlanRefused."""
        from server.tuning.distillation.questions import read_document
        from server.tuning.teaching import DEFAULT_ANSWER_TOKENS, DEFAULT_QUESTIONS, Distillation

        self._check()
        length = _or(self.max_answer_tokens, DEFAULT_ANSWER_TOKENS)
        if self.document is not None:
            return Distillation(read_document(_read(self.document)), length, _or(self.questions, DEFAULT_QUESTIONS))
        assert self.instruction is not None
        try:
            return Distillation(_read(self.instruction).decode(), length)
        except UnicodeDecodeError as error:
            raise FilesProblem(f"{self.instruction}: the file is not UTF-8") from error

    def _check(self) -> None:
        if (self.instruction is None) == (self.document is None):
            raise UsageProblem("give --instruction with --inputs, or --document")
        if self.document is None and self.inputs is None:
            raise UsageProblem("--inputs is missing: the teacher answers them behind the instruction")
        if self.document is None and self.questions is not None:
            raise UsageProblem("--questions are about a --document; an instruction has --inputs")
        if self.document is not None and (self.inputs or self.validation):
            raise UsageProblem(
                "the base model writes the questions about a --document: leave out --inputs and --validation, or give "
                "the text as --instruction"
            )

    def data(self, seed: int) -> TuningData:
        """Read the inputs, which a document has none of. `seed` selects the held-out ones.

        Raises FilesProblem and TuningError.
        """
        from server.tuning.distillation.questions import no_data
        from server.tuning.split import Split, tuning_data
        from server.tuning.teaching import MIN_INPUTS

        if self.inputs is None:
            assert self.document is not None
            return no_data(_read(self.document))
        training = _inputs(self.inputs, MIN_INPUTS)
        validation = None if self.validation is None else _inputs(self.validation, 1)
        return tuning_data(training, validation, seed, Split.RANDOM)


@takes_options
def distil(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.", show_default=False)],
    *,
    source: DistilOptions,
    run: RunOptions,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    about: TaskOptions,
    plan: DistilPlanOptions,
    gate: GateOptions,
    place: WorkbenchOptions,
) -> None:
    """Distil a long prompt into a soft prompt: requests are answered as behind the prompt, without its tokens.

    The base model answers the inputs with the instruction in its context. The soft prompt learns its distributions.
    Of a --document, the base model writes the inputs itself, and the result is a cartridge.
    The result becomes a version in the store that `softprompt serve` reads, unless --no-publish is given.

    Ctrl-C saves answers and run; the same command then resumes.
    """
    from server.tuning.errors import TuningError

    run.check()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then stops the run as Ctrl-C does
    began = time.monotonic()
    try:
        order = _order(task, source, run, about, plan, gate)
        if run.preview is not None:
            from server.cli.tuning.teacher import print_prompts

            print_prompts(order, place, run.preview)
            return
        from server.cli.tuning.local import tune_locally

        outcome = tune_locally(order, place)
    except TuningError as error:
        raise TuningProblem(str(error)) from error
    from server.cli.tuning.outcome import print_outcome

    print_outcome(outcome, time.monotonic() - began, as_json=json)


def _order(
    task: str, source: DistilOptions, run: RunOptions, about: TaskOptions, plan: DistilPlanOptions, gate: GateOptions
) -> Order:
    from prompts_store.names import check_task_name

    check_task_name(task)
    distillation, its_gate = source.distillation(), gate.gate()
    return Order(task, None, source.data(plan.seed or 0), plan, None, about, its_gate, run, distillation)


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def _inputs(path: Path, min_inputs: int) -> ExampleSet:
    from server.tuning.distillation.inputs import is_plain_text, read_inputs
    from server.tuning.errors import ExamplesRefused

    try:
        return read_inputs(_read(path), is_text=is_plain_text(path.name), min_inputs=min_inputs)
    except ExamplesRefused as error:
        raise FilesProblem(f"{path}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FilesProblem(f"cannot read {path}: {error.strerror}") from error
