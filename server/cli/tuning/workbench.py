"""The shared options of `tune` and `evaluate`, and the base model and store that these options name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.errors import BaseUnreadable, UsageProblem
from server.cli.output import working
from server.cli.serving.serve_options import read_settings
from server.loading import hide_progress_bars

if TYPE_CHECKING:
    from server.app import Workbench

_PANEL = "Base model and store, as for `serve`"


def _option(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=_PANEL, show_default=False)


@dataclass(frozen=True, slots=True)
class WorkbenchOptions:
    """The options of a base model and its store. Options left out come from the environment variables of `serve`."""

    base_model: Annotated[
        str | None,
        _option("--base-model", "Base model: a hub id, a local folder or a GGUF file; by default the demo model."),
    ] = None
    revision: Annotated[str | None, _option("--revision", "Branch, tag or commit of a hub id.")] = None
    dtype: Annotated[str | None, _option("--dtype", "Data type: auto, float32, float16 or bfloat16.")] = None
    weights: Annotated[
        str | None, _option("--weights", "Weights: auto; bfloat16, int8-weight-only or int8 to evaluate only.")
    ] = None
    device: Annotated[str | None, _option("--device", "Device: auto, cpu, cuda or cuda:N.")] = None
    threads: Annotated[int | None, _option("--threads", "Number of CPU threads for tensors.")] = None
    data_dir: Annotated[Path | None, _option("--data-dir", "Folder of the database and of unfinished runs.")] = None
    database_url: Annotated[
        str | None, _option("--database-url", "URL of a database to use instead of the data folder's.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class LocalWorkbench:
    """An open workbench and its data folder."""

    bench: Workbench
    data_dir: Path


@contextmanager
def open_local_workbench(options: WorkbenchOptions, *, only_scores: bool = False) -> Iterator[LocalWorkbench]:
    """Load the base model and open the store. Raises CliError or StoreError.

    Weights of fewer bits are refused unless the caller `only_scores`.
    """
    settings = read_settings({**asdict(options), "insecure": True})
    if settings.weights != "auto" and not only_scores:
        refused = f"weights of {settings.weights} are for serve and evaluate"
        raise UsageProblem(f"{refused}: leave --weights (SOFTPROMPT_WEIGHTS) out")
    logging.getLogger("server").setLevel(logging.WARNING)
    hide_progress_bars()
    from server.app import open_workbench
    from server.model.errors import ModelError
    from server.tokenizer.errors import TextError

    bench_manager = open_workbench(settings)
    try:
        with working(f"Loading {settings.base_model or 'the demo model'}"):
            bench = bench_manager.__enter__()
    except (ModelError, TextError) as error:
        raise BaseUnreadable(str(error)) from error
    try:
        yield LocalWorkbench(bench, settings.data_dir.expanduser())
    finally:
        bench_manager.__exit__(None, None, None)
