"""`softprompt evaluate`: scores versions side by side, with the engine that serves them."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import FilesProblem, TuningProblem, UsageProblem
from server.cli.option_groups import takes_options
from server.cli.output import one_line, print_json, print_table
from server.cli.tuning.examples_file import read_example_file
from server.cli.tuning.workbench import LocalWorkbench, WorkbenchOptions, open_local_workbench

if TYPE_CHECKING:
    from server.app import Workbench
    from server.tuning.candidate import Candidate
    from server.tuning.example_line import Example
    from server.tuning.scores import Scores, Unscored


@takes_options
def evaluate(
    options: WorkbenchOptions,
    references: Annotated[
        list[str],
        typer.Argument(metavar="TASK[@VERSION]… FILE", help="Versions, then a file of examples.", show_default=False),
    ],
    *,
    instruction: Annotated[
        str | None,
        typer.Option("--instruction", help="Also score the base model with this instruction before the template."),
    ] = None,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Also score the base model alone.")] = True,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Exit with code 1 if the first version's exact match is lower.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score versions on examples: exact match, label accuracy, macro F1, perplexity."""
    from server.tuning.errors import TuningError
    from server.tuning.survival import notes_on_answers

    if len(references) < 2:
        raise FilesProblem("name a version and a file of examples, such as: evaluate mood mood.jsonl")
    *names, file = references
    examples = read_example_file(Path(file))
    with open_local_workbench(options, only_scores=True) as local:
        candidates = _candidates(local, names, instruction, with_base=base)
        labels = candidates[0].manifest.labels or examples.labels
        try:
            answers = () if candidates[0].heads else examples.examples
            for note in notes_on_answers(local.bench.tokenizer, answers, labels if answers else ()):
                print(one_line(note.text), file=sys.stderr)
            found = asyncio.run(_score_all(local.bench, candidates, examples.examples, labels))
        except TuningError as error:
            raise TuningProblem(f"{file}: {error}") from error
    _report(found, min_score, as_json=json)


def _report(found: Sequence[Scores | Unscored], min_score: float | None, *, as_json: bool) -> None:
    """Print the scores. Raises TuningProblem if some are missing, or if the first exact match is too low."""
    from server.tuning.scores import Scores, Unscored

    scores = [one for one in found if isinstance(one, Scores)]
    if as_json:
        print_json(scores)
    else:
        print_scores(scores)
    if unscored := [one.reason for one in found if isinstance(one, Unscored)]:
        raise TuningProblem("; ".join(unscored))
    if min_score is not None and scores[0].exact_match < min_score:
        raise TuningProblem(f"exact match {scores[0].exact_match:.3f} is below {min_score:.3f}")


async def _score_all(
    bench: Workbench, candidates: Sequence[Candidate], examples: Sequence[Example], labels: Sequence[str]
) -> list[Scores | Unscored]:
    """Return the scores of each candidate, or the reason for their absence."""
    from server.cli.tuning.scoring import scoring
    from server.tuning.judgement import scores_of

    async with scoring(bench, examples, labels) as score:
        return [await scores_of(score, candidate) for candidate in candidates]


def print_scores(scores: Sequence[Scores]) -> None:
    """Print scores as a table."""
    rows = [
        (
            one.name,
            one.num_examples,
            f"{one.exact_match:.3f}",
            None if one.label_accuracy is None else f"{one.label_accuracy:.3f}",
            None if one.macro_f1 is None else f"{one.macro_f1:.3f}",
            None if math.isnan(one.perplexity) else f"{one.perplexity:.4g}",
        )
        for one in scores
    ]
    print_table(("", "EXAMPLES", "EXACT MATCH", "LABEL ACCURACY", "MACRO F1", "PERPLEXITY"), rows)


def _candidates(
    local: LocalWorkbench, names: Sequence[str], instruction: str | None, *, with_base: bool
) -> list[Candidate]:
    """Return the versions, then the base model with the instruction and alone, on the first version's template.

    A version with a head has no base model to compare with, which has no such head.
    """
    from server.tuning.candidate import base_alone, with_instruction

    candidates = [_candidate(local, name) for name in names]
    manifest = candidates[0].manifest
    if candidates[0].heads:
        if instruction is not None:
            raise UsageProblem("--instruction is for generated text, and the first version answers by its head")
        return candidates
    if instruction is not None:
        candidates.append(with_instruction(manifest, instruction))
    if with_base:
        candidates.append(base_alone(manifest))
    return candidates


def _candidate(local: LocalWorkbench, name: str) -> Candidate:
    """Return the version that a reference names now. Raises NotFound, InvalidName and TuningProblem."""
    from prompts_store.names import TaskReference
    from server.jobs.candidates import load_candidate
    from server.model.errors import ModelError
    from server.tuning.errors import EvaluationFailed

    bench = local.bench
    record = bench.store.resolve(bench.base.fingerprint, TaskReference.parse(name))
    try:
        return load_candidate(bench.store, bench.base, record)
    except (EvaluationFailed, ModelError) as error:
        raise TuningProblem(str(error)) from error
