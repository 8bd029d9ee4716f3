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
    """The files of examples: for training and, if there is one, for validation."""

    train: Annotated[Path, typer.Option("--train", metavar="FILE", help="Examples, JSONL.", show_default=False)]
    validation: Annotated[
        Path | None,
        typer.Option("--validation", metavar="FILE", help="Examples to judge by; else a tenth is held out."),
    ] = None

    def read(self, seed: int) -> TuningData:
        """Return what the files hold; `seed` decides what is held out. Raises FilesProblem and TuningError."""
        from server.tuning.split import tuning_data

        training = read_example_file(self.train)
        return tuning_data(training, None if self.validation is None else read_example_file(self.validation), seed)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The hyperparameters; what is not given, `TuningPlan` decides."""

    method: Annotated[
        str | None, _option(_METHOD, "--method", "PROMPT_TUNING, P_TUNING or PREFIX_TUNING.", "PROMPT_TUNING")
    ] = None
    initialisation: Annotated[
        str | None, _option(_METHOD, "--init", "RANDOM, SAMPLE_VOCAB, TEXT or LABELS.", "SAMPLE_VOCAB")
    ] = None
    init_text: Annotated[str | None, _option(_METHOD, "--init-text", "Begin with this text; implies TEXT.")] = None
    num_virtual_tokens: Annotated[int | None, _option(_METHOD, "--virtual-tokens", "Virtual tokens.", "16")] = None
    num_steps: Annotated[int | None, _option(_METHOD, "--steps", "Optimiser steps.")] = None
    num_epochs: Annotated[float | None, _option(_METHOD, "--epochs", "Passes over the examples.")] = None
    batch_size: Annotated[int | None, _option(_METHOD, "--batch-size", "Examples a step.", "16")] = None
    learning_rate: Annotated[
        str | None, _option(_METHOD, "--learning-rate", 'A number, or "auto" to try a few.', "by method and scale")
    ] = None
    learning_rate_multiplier: Annotated[
        float | None, _option(_METHOD, "--learning-rate-multiplier", "Multiply the default learning rate.")
    ] = None
    optimizer: Annotated[str | None, _option(_METHOD, "--optimizer", "ADAMW or ADAFACTOR.", "ADAMW")] = None
    schedule: Annotated[str | None, _option(_METHOD, "--schedule", "CONSTANT, LINEAR or COSINE.", "LINEAR")] = None
    warmup_steps: Annotated[int | None, _option(_METHOD, "--warmup-steps", "Steps of warm-up.", "10")] = None
    weight_decay: Annotated[float | None, _option(_METHOD, "--weight-decay", "Weight decay.", "0")] = None
    max_grad_norm: Annotated[float | None, _option(_METHOD, "--max-grad-norm", "Clip the gradient.", "1")] = None
    validate_every: Annotated[int | None, _option(_METHOD, "--validate-every", "Steps between validations.")] = None
    patience: Annotated[
        int | None, _option(_METHOD, "--patience", "Validations without a better one before it ends.", "6")
    ] = None
    max_micro_batch_tokens: Annotated[
        int | None, _option(_METHOD, "--micro-batch-tokens", "Positions that go through the model at once.", "512")
    ] = None
    seed: Annotated[int | None, _option(_METHOD, "--seed", "Seed.", "0")] = None

    def plan(self) -> TuningPlan:
        """Return the plan. Raises PlanRefused and UsageProblem."""
        from server.tuning.plan import check_all_used, plan_from_json

        plan = plan_from_json(self.given())
        check_all_used(plan)
        return plan

    def given(self) -> dict[str, Any]:
        """Return what was given, by the names and with the values of a plan. Raises UsageProblem."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        for name in ("method", "initialisation", "optimizer", "schedule"):
            if name in given:
                given[name] = given[name].upper()
        if "init_text" in given:
            given.setdefault("initialisation", "TEXT")
        if given.get("learning_rate", "auto") != "auto":
            given["learning_rate"] = _number(given["learning_rate"])
        return given


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What the version carries beside the soft prompt."""

    template: Annotated[
        str | None, _option(_TASK, "--template", "Text around {input}; \\n is a line break.", "the base model's")
    ] = None
    add_special_tokens: Annotated[
        bool | None, _option(_TASK, "--special-tokens/--no-special-tokens", "Let the tokenizer add its own.")
    ] = None
    max_tokens: Annotated[int | None, _option(_TASK, "--max-tokens", "Most tokens of an answer by default.")] = None
    note: Annotated[str | None, _option(_TASK, "--note", "A line for those who come after.")] = None

    def manifest(
        self, of_base: Manifest, data: TuningData, tokenizer: Tokenizer, servable: Callable[[int], int]
    ) -> Manifest:
        """Return the version's manifest; `servable` bounds the tokens of an answer.

        Raises InvalidManifest and ExamplesRefused.
        """
        from server.tuning.encoding import longest_answer

        longest = servable(longest_answer(tokenizer, (*data.training, *data.validation)))
        manifest = replace(
            of_base,
            labels=data.labels,
            defaults={"temperature": 0.0, "max_tokens": self.max_tokens or longest},
            note=self.note or "",
            training_data_digest=data.digest,
        )
        if self.template is not None:
            manifest = replace(manifest, template=_unescaped(self.template), add_special_tokens=None)
        if self.add_special_tokens is not None:
            manifest = replace(manifest, add_special_tokens=self.add_special_tokens)
        return manifest

    def job_fields(self) -> dict[str, Any]:
        """Return the same as fields of a server's job, which decides what is left out."""
        given = {
            "template": None if self.template is None else _unescaped(self.template),
            "add_special_tokens": self.add_special_tokens,
            "defaults": None if self.max_tokens is None else {"temperature": 0.0, "max_tokens": self.max_tokens},
            "note": self.note,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class GateOptions:
    """Whether the version is to become `production`."""

    promote: Annotated[bool, _option(_GATE, "--promote", "Make it `production`, if the gate opens.")] = False
    metric: Annotated[
        str, _option(_GATE, "--gate-metric", "exact_match, label_accuracy or macro_f1.", "exact_match")
    ] = "exact_match"
    min_score: Annotated[float | None, _option(_GATE, "--min-score", "Only with this score; implies --promote.")] = None
    not_worse: Annotated[
        bool, _option(_GATE, "--not-worse", "Only if not below `production` now; implies --promote.")
    ] = False

    def gate(self) -> Gate | None:
        """Return the gate, None where promotion is not wanted. Raises PlanRefused."""
        from server.tuning.gate import Gate

        if not (self.promote or self.not_worse or self.min_score is not None):
            return None
        return Gate(self.metric, self.min_score, self.not_worse)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What becomes of the run and of its result."""

    preview: Annotated[
        int | None, typer.Option("--preview", min=1, metavar="N", help="Show what the model sees of N examples; stop.")
    ] = None
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write a PEFT checkpoint, manifest and plot.")
    ] = None
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Make it a version in the store.")] = True
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="Go on with this task's interrupted run; with --url, watch its job again.",
            show_default="where the run is this very one",
        ),
    ] = None
    checkpoint_s: Annotated[
        float | None,
        typer.Option("--checkpoint-s", min=0, help="Seconds between two checkpoints of the run.", show_default="10"),
    ] = None

    def check(self) -> None:
        """Raise UsageProblem where nothing is to become of the result."""
        if self.save is None and not self.publish:
            raise UsageProblem("there is nothing to do with the result: give --save, or leave out --no-publish")

    def here_only(self) -> dict[str, object]:
        """Return what only a run on this machine can do, by option."""
        return {"--preview": self.preview, "--no-publish": not self.publish, "--checkpoint-s": self.checkpoint_s}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Which server tunes, if one does."""

    url: Annotated[str | None, _option(_SERVER, "--url", "Let this server tune, on its base model.")] = None
    api_key: ApiKey = None
    cancel_on_interrupt: Annotated[
        bool, _option(_SERVER, "--cancel-on-interrupt", "Ctrl-C ends the job; else it goes on without this command.")
    ] = False

    def check(self, place: WorkbenchOptions, plan: PlanOptions, here_only: Mapping[str, object]) -> None:
        """Raise UsageProblem for options that a server, or this machine, can make nothing of."""
        if self.url is None:
            if self.cancel_on_interrupt:
                raise UsageProblem("--cancel-on-interrupt is about a server's job: it needs --url")
            return
        own = {**here_only, "--micro-batch-tokens": plan.max_micro_batch_tokens}
        own |= {f"--{field.name.replace('_', '-')}": getattr(place, field.name) for field in fields(place)}
        del own["--base-model"]  # which a server has a name for
        for option, value in own.items():
            if value is not None and value is not False:
                raise UsageProblem(f"{option} is about tuning on this machine; it does not go with --url")


def _unescaped(template: str) -> str:
    return template.replace("\\n", "\n")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageProblem('--learning-rate is a number or "auto"') from error
