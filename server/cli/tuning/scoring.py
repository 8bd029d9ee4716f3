"""Scores from the engine on this machine, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from rich.progress import Progress, TaskID

from prompts_store.checkpoint_records import BaseKind
from server.app import Workbench
from server.cli.output import console_of
from server.tuning.candidate import Candidate
from server.tuning.evaluation import evaluate
from server.tuning.example_line import Example
from server.tuning.scores import Scores


@asynccontextmanager
async def scoring(
    bench: Workbench, examples: Sequence[Example], labels: Sequence[str]
) -> AsyncIterator[Callable[[Candidate], Awaitable[Scores]]]:
    """Run the engine while the context is open, and yield a function that scores a candidate with it.

    The function raises as `evaluate` does.
    """
    console = console_of(sys.stderr)
    async with bench.engine.running():
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

            async def score(candidate: Candidate) -> Scores:
                bar = progress.add_task(f"Scoring {candidate.name}", total=len(examples))
                return await evaluate(
                    bench.engine,
                    bench.tokenizer,
                    candidate,
                    examples,
                    end_token_id=bench.end_token_id,
                    labels=labels,
                    has_encoder=bench.base.kind is BaseKind.ENCODER_DECODER,
                    on_progress=partial(_show, progress, bar),
                )

            yield score


def _show(progress: Progress, bar: TaskID, num_done: int) -> None:
    progress.update(bar, completed=num_done)
