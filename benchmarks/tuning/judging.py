"""Runs one setting in this process and scores it through the engine that serves."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.tuning.settings import Kind, Setting
from benchmarks.tuning.tasks import LabelledTask, task_named
from benchmarks.tuning.training import train_soft_prompt, train_weights
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.manifest import Manifest
from server.app import Workbench
from server.cli.tuning.workbench import WorkbenchOptions, open_local_workbench
from server.tokenizer.chat import render_input
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.candidate import Candidate, base_alone, unpublished
from server.tuning.evaluation import evaluate
from server.tuning.example_line import Example
from server.tuning.scores import Scores
from server.tuning.split import TuningData, tuning_data


def outcome_of(setting: Setting) -> dict[str, Any]:
    """Train and score a setting: what a row of the tables needs, as JSON values."""
    task = task_named(setting.task)
    if setting.kind in (Kind.ZERO_SHOT, Kind.FEW_SHOT):
        return _of_prompt(task, setting)
    if setting.kind is Kind.SOFT_PROMPT:
        return _of_soft_prompt(task, setting)
    return _of_weights(task, setting)


def _of_prompt(task: LabelledTask, setting: Setting) -> dict[str, Any]:
    """The base alone. Each form of the prompt is scored; validation picks one, so the base is not wronged by a form."""
    with _workbench(task.base_model) as bench:
        data = tuning_data(task.training())
        written = _prompts(task, setting.kind, bench.tokenizer)
        forms = [Manifest(template=form, labels=data.labels, add_special_tokens=False) for form in written]
        validated = _score(bench, [(base_alone(form), data.validation) for form in forms])
        best = max(range(len(forms)), key=lambda index: validated[index].label_accuracy or 0.0)
        (test,) = _score(bench, [(base_alone(forms[best]), task.test())])
    return {**_tested(validated[best], test), "template": written[best]}


def _prompts(task: LabelledTask, kind: Kind, tokenizer: Tokenizer) -> list[str]:
    """Templates: a text to go on with, the instruction before or behind the input, and a user's message."""
    if kind is Kind.FEW_SHOT:
        asked = [task.few_shot() + "{input}"]
    else:
        asked = [f"{task.instruction}\n{{input}}", f"{{input}}\n{task.instruction}"]
    chats = [] if tokenizer.chat_template is None else [render_input(tokenizer, one) for one in asked]
    return [*(f"{one}\n" for one in asked), *chats]


def _of_soft_prompt(task: LabelledTask, setting: Setting) -> dict[str, Any]:
    with _workbench(task.base_model) as bench:
        data = tuning_data(task.training(), seed=setting.seed)
        job, result, cost = train_soft_prompt(bench, task, setting, data)
        checkpoint = read_checkpoint(
            result.config,
            result.tensors,
            bench.base,
            task_index=None,
            allow_base_mismatch=False,
            max_tensor_bytes=len(result.tensors),
        )
        manifest = replace(job.manifest, labels=data.labels)
        candidate = unpublished(task.name, task.name, checkpoint, manifest, bench.base)
        found = _judge(bench, candidate, task, data, is_short=setting.is_short)
    return {**found, **asdict(cost)}


def _of_weights(task: LabelledTask, setting: Setting) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = tuning_data(task.training(), seed=setting.seed)
        with _workbench(task.base_model) as bench:
            cost = train_weights(bench, task, setting, data, Path(folder))
            manifest = replace(bench.manifest, labels=data.labels)
        with _workbench(Path(folder)) as bench:
            found = _judge(bench, base_alone(manifest), task, data)
    return {**found, **asdict(cost)}


def _judge(
    bench: Workbench, candidate: Candidate, task: LabelledTask, data: TuningData, *, is_short: bool = False
) -> dict[str, Any]:
    """Scores on validation and, but for a short run, on the test set."""
    asked = [(candidate, data.validation)] if is_short else [(candidate, data.validation), (candidate, task.test())]
    return _tested(*_score(bench, asked))


def _tested(validation: Scores, test: Scores | None = None) -> dict[str, Any]:
    """What is kept of scores. `validation` and `test` are the share of texts whose label is the most likely one.

    So the base alone, which seldom writes nothing but a label, is measured as what was tuned is. `exact_match` is the
    share of texts that are answered with the label and nothing else. The perplexity breaks ties of a sweep.
    """
    found = {"validation": validation.label_accuracy, "validation_perplexity": validation.perplexity}
    return found if test is None else {**found, "test": test.label_accuracy, "exact_match": test.exact_match}


def _score(bench: Workbench, asked: Sequence[tuple[Candidate, Sequence[Example]]]) -> list[Scores]:
    async def score_each() -> list[Scores]:
        async with bench.engine.running():
            return [
                await evaluate(
                    bench.engine,
                    bench.tokenizer,
                    candidate,
                    examples,
                    end_token_id=bench.end_token_id,
                    labels=candidate.manifest.labels,
                )
                for candidate, examples in asked
            ]

    return asyncio.run(score_each())


@contextmanager
def _workbench(base_model: Path) -> Iterator[Workbench]:
    """A base model with a store of its own, as `softprompt tune` opens them."""
    with tempfile.TemporaryDirectory() as folder:
        options = WorkbenchOptions(
            base_model=str(base_model), data_dir=Path(folder), threads=1, dtype="float32", device="cpu"
        )
        with open_local_workbench(options) as local:
            yield local.bench
