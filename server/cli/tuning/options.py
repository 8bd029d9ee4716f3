"""The options of `softprompt tune`, in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.errors import UsageProblem
from server.cli.tuning.examples_file import read_example_file
from server.cli.tuning.workbench import WorkbenchOptions
from server.cli.where import ApiKey

if TYPE_CHECKING:
    from prompts_store.manifest import Manifest
    from server.tokenizer.tokenizer import Tokenizer
    from server.tuning.gate import Gate
    from server.tuning.plan import TuningPlan
    from server.tuning.split import TuningData

_METHOD, _TASK, _GATE, _SERVER = "Method", "Task", "Promotion", "On a server"


def _option(panel: str, flags: str, text: str, default: str | None = None) -> Any:
    return typer.Option(*flags.split(), help=text, rich_help_panel=panel, show_default=default or False)


@dataclass(frozen=True, slots=True)
class ExampleOptions:
    """The files of examples: one for training, and perhaps one for validation."""

    train: Annotated[
        Path, typer.Option("--train", metavar="FILE", help="JSONL file of training examples.", show_default=False)
    ]
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation", metavar="FILE", help="JSONL file of validation examples; by default a tenth is held out."
        ),
    ] = None

    def read(self, seed: int) -> TuningData:
        """Return the files' content. `seed` selects the held-out examples. Raises FilesProblem and TuningError."""
        from server.tuning.split import tuning_data

        training = read_example_file(self.train)
        return tuning_data(training, None if self.validation is None else read_example_file(self.validation), seed)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The hyperparameters. Options left out take the defaults of `TuningPlan`."""

    method: Annotated[
        str | None,
        _option(_METHOD, "--method", "Method: PROMPT_TUNING, P_TUNING, PREFIX_TUNING or CARTRIDGE.", "PROMPT_TUNING"),
    ] = None
    task_type: Annotated[
        str | None,
        _option(
            _METHOD,
            "--task-type",
            "Task type: SEQ_CLS trains a head that chooses a label; else completions are generated.",
            "SEQ_CLS on an encoder",
        ),
    ] = None
    initialisation: Annotated[
        str | None, _option(_METHOD, "--init", "Initialisation: RANDOM, SAMPLE_VOCAB, TEXT or LABELS.", "SAMPLE_VOCAB")
    ] = None
    init_text: Annotated[
        str | None, _option(_METHOD, "--init-text", "Text to initialise with; implies --init TEXT.")
    ] = None
    num_virtual_tokens: Annotated[
        int | None, _option(_METHOD, "--virtual-tokens", "Number of virtual tokens.", "16")
    ] = None
    num_steps: Annotated[int | None, _option(_METHOD, "--steps", "Number of optimiser steps.")] = None
    num_epochs: Annotated[float | None, _option(_METHOD, "--epochs", "Number of passes over the examples.")] = None
    max_extensions: Annotated[
        int | None,
        _option(
            _METHOD,
            "--max-extensions",
            "Maximum number of extensions of a run that still improves at its end, by half of its steps each.",
            "2; 0 with --steps or --epochs",
        ),
    ] = None
    batch_size: Annotated[int | None, _option(_METHOD, "--batch-size", "Number of examples per step.", "16")] = None
    learning_rate: Annotated[
        str | None,
        _option(
            _METHOD, "--learning-rate", 'Learning rate: a number, or "auto" to try several.', "by method and scale"
        ),
    ] = None
    learning_rate_multiplier: Annotated[
        float | None, _option(_METHOD, "--learning-rate-multiplier", "Factor for the default learning rate.")
    ] = None
    optimizer: Annotated[str | None, _option(_METHOD, "--optimizer", "Optimiser: ADAMW or ADAFACTOR.", "ADAMW")] = None
    schedule: Annotated[
        str | None, _option(_METHOD, "--schedule", "Learning-rate schedule: CONSTANT, LINEAR or COSINE.", "LINEAR")
    ] = None
    warmup_steps: Annotated[int | None, _option(_METHOD, "--warmup-steps", "Number of warm-up steps.", "10")] = None
    weight_decay: Annotated[float | None, _option(_METHOD, "--weight-decay", "Weight decay.", "0")] = None
    max_grad_norm: Annotated[
        float | None, _option(_METHOD, "--max-grad-norm", "Maximum norm of the gradient.", "1")
    ] = None
    validate_every: Annotated[
        int | None, _option(_METHOD, "--validate-every", "Number of steps between validations.")
    ] = None
    patience: Annotated[
        int | None,
        _option(_METHOD, "--patience", "Number of validations without improvement before the run ends.", "6"),
    ] = None
    max_micro_batch_tokens: Annotated[
        int | None,
        _option(_METHOD, "--micro-batch-tokens", "Maximum number of positions that the model computes at once.", "512"),
    ] = None
    seed: Annotated[int | None, _option(_METHOD, "--seed", "Seed of the run.", "0")] = None

    def plan(self) -> TuningPlan:
        """Return the plan. Raises PlanRefused and UsageProblem."""
        from server.tuning.plan import new_plan

        return new_plan(self.given())

    def given(self) -> dict[str, Any]:
        """Return the given options, with the names and values of a plan. Raises UsageProblem."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        for name in ("method", "task_type", "initialisation", "optimizer", "schedule"):
            if name in given:
                given[name] = given[name].upper()
        if given.get("learning_rate", "auto") != "auto":
            given["learning_rate"] = _number(given["learning_rate"])
        return given


@dataclass(frozen=True, slots=True)
class DistilPlanOptions(PlanOptions):
    """The hyperparameters of a distillation, whose defaults differ."""

    method: Annotated[
        str | None,
        _option(
            _METHOD,
            "--method",
            "Method: PREFIX_TUNING, PROMPT_TUNING or CARTRIDGE.",
            "PREFIX_TUNING; CARTRIDGE with --document",
        ),
    ] = None
    initialisation: Annotated[
        str | None,
        _option(
            _METHOD,
            "--init",
            "Initialisation: RANDOM, SAMPLE_VOCAB, TEXT or INSTRUCTION.",
            "INSTRUCTION; the first tokens with --document or PROMPT_TUNING",
        ),
    ] = None
    num_virtual_tokens: Annotated[
        int | None,
        _option(
            _METHOD,
            "--virtual-tokens",
            "Number of virtual tokens.",
            "32, or half of the instruction; 256, or a quarter of the document",
        ),
    ] = None
    num_steps: Annotated[int | None, _option(_METHOD, "--steps", "Number of optimiser steps.", "100")] = None
    batch_size: Annotated[int | None, _option(_METHOD, "--batch-size", "Number of examples per step.", "8")] = None


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """The properties of the version besides the soft prompt."""

    template: Annotated[
        str | None, _option(_TASK, "--template", "Template with {input}; \\n is a line break.", "the base model's")
    ] = None
    add_special_tokens: Annotated[
        bool | None, _option(_TASK, "--special-tokens/--no-special-tokens", "Let the tokenizer add its special tokens.")
    ] = None
    max_tokens: Annotated[
        int | None, _option(_TASK, "--max-tokens", "Default maximum number of tokens of an answer.")
    ] = None
    note: Annotated[str | None, _option(_TASK, "--note", "Note on the version.")] = None

    def manifest(
        self, of_base: Manifest, data: TuningData, tokenizer: Tokenizer, servable: Callable[[int], int] | None
    ) -> Manifest:
        """Return the version's manifest. `servable` limits the number of tokens of an answer; None with a head.

        Raises InvalidManifest, ExamplesRefused and UsageProblem.
        """
        manifest = replace(
            of_base,
            labels=data.labels,
            defaults=self._defaults(data, tokenizer, servable),
            note=self.note or "",
            training_data_digest=data.digest,
        )
        if self.template is not None:
            template = _unescaped(self.template)
            manifest = replace(manifest, template=template, chat_template=False, add_special_tokens=None)
        if self.add_special_tokens is not None:
            manifest = replace(manifest, add_special_tokens=self.add_special_tokens)
        return manifest

    def _defaults(
        self, data: TuningData, tokenizer: Tokenizer, servable: Callable[[int], int] | None
    ) -> dict[str, Any]:
        from server.tuning.encoding import longest_answer

        if servable is None:
            if self.max_tokens is not None:
                raise UsageProblem("--max-tokens is for generated text, and a head answers here; leave it out")
            return {}
        longest = servable(longest_answer(tokenizer, (*data.training, *data.validation)))
        return {"temperature": 0.0, "max_tokens": self.max_tokens or longest}

    def job_fields(self) -> dict[str, Any]:
        """Return the given options as fields of a job. The server has defaults for the others."""
        given = {
            "template": None if self.template is None else _unescaped(self.template),
            "add_special_tokens": self.add_special_tokens,
            "defaults": None if self.max_tokens is None else {"temperature": 0.0, "max_tokens": self.max_tokens},
            "note": self.note,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class GateOptions:
    """The conditions under which the version becomes `production`."""

    promote: Annotated[bool, _option(_GATE, "--promote", "Set `production` to the version if the gate passes.")] = False
    metric: Annotated[
        str,
        _option(
            _GATE,
            "--gate-metric",
            "Metric of the gate: exact_match, label_accuracy or macro_f1; agreement of a distillation.",
            "exact_match",
        ),
    ] = "exact_match"
    min_score: Annotated[
        float | None, _option(_GATE, "--min-score", "Minimum score of the gate; implies --promote.")
    ] = None
    not_worse: Annotated[
        bool,
        _option(_GATE, "--not-worse", "Require a score at least equal to that of `production`; implies --promote."),
    ] = False

    def gate(self) -> Gate | None:
        """Return the gate, or None without promotion. Raises PlanRefused."""
        from server.tuning.gate import Gate

        if not (self.promote or self.not_worse or self.min_score is not None):
            return None
        return Gate(self.metric, self.min_score, self.not_worse)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The handling of the run and of its result."""

    preview: Annotated[
        int | None, typer.Option("--preview", min=1, metavar="N", help="Print N examples token by token, and exit.")
    ] = None
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="DIR", help="Folder to write a PEFT checkpoint, a manifest and a plot to."),
    ] = None
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Publish the result as a version in the store.")
    ] = True
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="Resume this task's interrupted run; with --url, watch its job again.",
            show_default="if the parameters are the same",
        ),
    ] = None
    checkpoint_s: Annotated[
        float | None,
        typer.Option("--checkpoint-s", min=0, help="Seconds between two checkpoints of the run.", show_default="10"),
    ] = None

    def check(self) -> None:
        """Raise UsageProblem if the result would be neither saved nor published."""
        if self.save is None and not self.publish:
            raise UsageProblem("the result would be lost; give --save, or leave out --no-publish")

    def local_only(self) -> dict[str, object]:
        """Return the options that only a run on this machine takes, with their values."""
        return {"--preview": self.preview, "--no-publish": not self.publish, "--checkpoint-s": self.checkpoint_s}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server that tunes, if one does."""

    url: Annotated[str | None, _option(_SERVER, "--url", "URL of a server that tunes, on its base model.")] = None
    api_key: ApiKey = None
    cancel_on_interrupt: Annotated[
        bool,
        _option(_SERVER, "--cancel-on-interrupt", "Cancel the job on Ctrl-C; by default it continues on the server."),
    ] = False

    def check(self, place: WorkbenchOptions, plan: PlanOptions, local_only: Mapping[str, object]) -> None:
        """Raise UsageProblem for options that do not apply to a run on a server, or to one on this machine."""
        if self.url is None:
            if self.cancel_on_interrupt:
                raise UsageProblem("--cancel-on-interrupt applies only to a job on a server; it needs --url")
            return
        own = {**local_only, "--micro-batch-tokens": plan.max_micro_batch_tokens}
        own |= {f"--{field.name.replace('_', '-')}": getattr(place, field.name) for field in fields(place)}
        del own["--base-model"]  # a job names its base model too
        for option, value in own.items():
            if value is not None and value is not False:
                raise UsageProblem(f"{option} applies only to a run on this machine; leave it out with --url")


def _unescaped(template: str) -> str:
    return template.replace("\\n", "\n")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageProblem('--learning-rate must be a number or "auto"') from error
