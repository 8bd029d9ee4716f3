"""`softprompt evaluate`: how good versions are, through the engine that serves them, side by side."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import FilesProblem, TuningProblem
from server.cli.option_groups import takes_options
from server.cli.output import one_line, print_json, print_table
from server.cli.tuning.examples_file import read_example_file
from server.cli.tuning.workbench import Place, WorkbenchOptions, open_place

if TYPE_CHECKING:
    from server.app import Workbench
    from server.tuning.evaluation import Candidate
    from server.tuning.examples import Example
    from server.tuning.scores import Scores, Unscored


@takes_options
def evaluate(
    options: WorkbenchOptions,
    references: Annotated[
        list[str], typer.Argument(metavar="TASK[@VERSION]… FILE", help="Versions, then examples.", show_default=False)
    ],
    *,
    instruction: Annotated[
        str | None, typer.Option("--instruction", help="Also the base model told in words, before the template.")
    ] = None,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Also the base model alone.")] = True,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="End with 1 if the first version's exact match is below.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score versions on examples: exact match, label accuracy, macro F1, perplexity."""
    from server.tuning.errors import TuningError
    from server.tuning.scores import Scores, Unscored
    from server.tuning.survival import notes_on_answers

    if len(references) < 2:
        raise FilesProblem("name a version and a file of examples, such as: evaluate mood mood.jsonl")
    *names, file = references
    examples = read_example_file(Path(file))
    with open_place(options) as at:
        candidates = _candidates(at, names, instruction, with_base=base)
        labels = candidates[0].manifest.labels or examples.labels
        try:
            for note in notes_on_answers(at.bench.tokenizer, examples.examples, labels):
                print(one_line(note.text), file=sys.stderr)
            found = asyncio.run(_score_all(at.bench, candidates, examples.examples, labels))
        except TuningError as error:
            raise TuningProblem(f"{file}: {error}") from error
    scores = [one for one in found if isinstance(one, Scores)]
    if json:
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
    """Scores of each candidate, or why there are none."""
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
            f"{one.perplexity:.4g}",
        )
        for one in scores
    ]
    print_table(("", "EXAMPLES", "EXACT MATCH", "LABEL ACCURACY", "MACRO F1", "PERPLEXITY"), rows)


def _candidates(at: Place, names: Sequence[str], instruction: str | None, *, with_base: bool) -> list[Candidate]:
    """The versions, then the base model told in words and alone, both on the first version's template."""
    from server.tuning.evaluation import base_alone, with_instruction

    candidates = [_candidate(at, name) for name in names]
    manifest = candidates[0].manifest
    if instruction is not None:
        candidates.append(with_instruction(manifest, instruction))
    if with_base:
        candidates.append(base_alone(manifest))
    return candidates


def _candidate(at: Place, name: str) -> Candidate:
    """The version that a reference means now. Raises NotFound and InvalidName."""
    from prompts_store.names import TaskReference
    from server.jobs.candidates import load_candidate

    bench = at.bench
    record = bench.store.resolve(bench.base.fingerprint, TaskReference.parse(name))
    return load_candidate(bench.store, record)
