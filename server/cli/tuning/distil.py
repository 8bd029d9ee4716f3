"""`softprompt distil`: makes a version that answers as the base model does behind a long instruction."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import FilesProblem, TuningProblem, UsageProblem
from server.cli.option_groups import takes_options
from server.cli.tuning.commands import carry_out
from server.cli.tuning.options import DistilPlanOptions, GateOptions, RunOptions, ServerOptions, TaskOptions
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import WorkbenchOptions

if TYPE_CHECKING:
    from server.tuning.examples import ExampleSet
    from server.tuning.split import TuningData
    from server.tuning.teaching import Distillation


@dataclass(frozen=True, slots=True)
class DistilOptions:
    """The instruction or the document, and the inputs that the teacher answers."""

    instruction: Annotated[
        Path | None, typer.Option("--instruction", metavar="FILE", help="Text file that the soft prompt replaces.")
    ] = None
    document: Annotated[
        Path | None,
        typer.Option(
            "--document", metavar="FILE", help="In its place: text file about which the base model asks questions."
        ),
    ] = None
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            metavar="FILE",
            help="Inputs: one per line of a .txt file, or JSONL with prompt or text.",
            show_default="the base model writes them",
        ),
    ] = None
    num_inputs: Annotated[
        int | None,
        typer.Option(
            "--num-inputs",
            help="The base model writes inputs until there are as many, those of --inputs included.",
            show_default="200 without --inputs",
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
        from server.tuning.teaching import DEFAULT_ANSWER_TOKENS, DEFAULT_WRITTEN_INPUTS, Distillation

        path = self._path()
        try:
            text = read_document(_read(path)) if self.document else _read(path).decode()
        except UnicodeDecodeError as error:
            raise FilesProblem(f"{path}: the file is not UTF-8") from error
        limit = DEFAULT_ANSWER_TOKENS if self.max_answer_tokens is None else self.max_answer_tokens
        default = DEFAULT_WRITTEN_INPUTS if self.inputs is None else None
        number = default if self.num_inputs is None else self.num_inputs
        return Distillation(text, limit, number, is_document=self.document is not None)

    def _path(self) -> Path:
        """The file with the text. Raises UsageProblem."""
        if self.document is not None and (self.inputs is not None or self.validation is not None):
            raise UsageProblem(
                "the base model asks about a --document: leave out --inputs and --validation, or give the text as "
                "--instruction"
            )
        path = self.instruction or self.document
        if path is None or (self.instruction and self.document):
            raise UsageProblem("give --instruction, or --document")
        return path

    def files(self) -> tuple[Path, ...]:
        """What a server gets, in the order of `Order.files`."""
        first = self.document or self.inputs
        return tuple(path for path in (first, self.validation) if path is not None)

    def check_for_server(self) -> None:
        """Raise UsageProblem where there is nothing to upload: a job always has a file."""
        if self.inputs is None and self.document is None:
            raise UsageProblem("with --url, give --inputs, or --document; one line and --num-inputs are enough")

    def data(self, seed: int) -> TuningData:
        """Read the inputs. `seed` selects the held-out ones. Raises FilesProblem and TuningError."""
        from server.tuning.distillation.studied import NO_INPUTS, before_study
        from server.tuning.split import Split, tuning_data
        from server.tuning.teaching import MIN_INPUTS

        is_studied = self.inputs is None or self.num_inputs is not None
        training = NO_INPUTS if self.inputs is None else _inputs(self.inputs, 1 if is_studied else MIN_INPUTS)
        validation = None if self.validation is None else _inputs(self.validation, 1)
        if is_studied:
            return before_study(training, validation)
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
    server: ServerOptions,
) -> None:
    """Distil a long prompt into a soft prompt: requests are answered as behind the prompt, without its tokens.

    The base model answers the inputs with the instruction in its context. The soft prompt learns its distributions.
    Without --inputs the base model writes them too. Of a --document it writes questions about each part, and the
    result is a cartridge.
    The result becomes a version in the store that `softprompt serve` reads, unless --no-publish is given.

    Ctrl-C saves answers and run; the same command then resumes. With --url, a running server distils, as with `tune`.
    """
    from server.tuning.errors import TuningError

    run.check()
    server.check(place, plan, run.local_only())
    if server.url is not None:
        source.check_for_server()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then stops the run as Ctrl-C does
    began = time.monotonic()
    try:
        order = _order(task, source, run, about, plan, gate)
        if run.preview is not None:
            from server.cli.tuning.teacher import print_prompts

            print_prompts(order, place, run.preview)
            return
        outcome = carry_out(order, place, server)
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
    return Order(task, source.files(), source.data(plan.seed or 0), plan, None, about, its_gate, run, distillation)


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
