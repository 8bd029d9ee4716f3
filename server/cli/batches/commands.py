"""`softprompt batch`: ask a running server every line of a file, and write the answers in the same order."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from server.cli.batches.lines import ENDPOINTS, prepare
from server.cli.errors import BatchEnded, FilesProblem, UsageProblem
from server.cli.output import print_json
from server.cli.where import DEFAULT_URL, ApiKey, Url


def batch(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="Requests: OpenAI's batch lines, bodies, or texts.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="File for the answers, in the order of IN.", show_default=False)
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", help="`task`, `task@3` or `task@alias`, for lines that name no model."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", help=f"Route to ask: {', '.join(ENDPOINTS)}; by default that of the lines, or the first."
        ),
    ] = None,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="File for lines without an answer; by default OUT.errors.")
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel the batch that an interrupted run began, and collect its answers.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT and the file of errors.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Ask a running server every line of a file, beside its live requests. The exit code is 1 if a line has no answer.

    The batch runs on the server. An interrupted command goes on when it is run again, and asks nothing twice: a journal
    beside OUT says what is asked.
    """
    from server.cli.batches.journal import Journal
    from server.cli.batches.remote import RemoteBatch
    from server.cli.connection import connect

    if endpoint is not None and endpoint not in ENDPOINTS:
        raise UsageProblem(f"--endpoint must be one of {', '.join(ENDPOINTS)}")
    errors = output.with_name(f"{output.name}.errors") if errors is None else errors
    prepared = prepare(_read(source), model=model, endpoint=endpoint)
    for path in (output, errors):
        if path.exists() and not overwrite:
            raise FilesProblem(f"{path} already exists; choose another name, or give --overwrite")
    if not output.parent.is_dir():
        raise FilesProblem(f"{output.parent} is not a folder")
    with connect(url, api_key) as connection:
        remote = RemoteBatch(connection, Journal.open(output, url, prepared.data))
        if cancel and remote.journal.is_new:
            remote.journal.remove()
            raise FilesProblem(f"there is no journal of {output}, so no batch to cancel")
        begun = None
        try:
            begun = remote.begin(prepared)
            if cancel:
                remote.cancel(begun)
            collected = remote.collect(remote.watch(begun), output, errors)
        except KeyboardInterrupt:
            what = "the batch" if begun is None else begun
            print(
                f"softprompt: detached; {what} continues on the server. The same command goes on with it, and with "
                "--cancel ends it",
                file=sys.stderr,
            )
            raise
    if json:
        print_json(asdict(collected) | {"errors": None if collected.errors is None else str(collected.errors)})
    else:
        print(f"{collected.num_answered} of {collected.num_lines} lines answered -> {output}")
    if collected.errors is not None:
        missing = collected.num_lines - collected.num_answered
        raise BatchEnded(
            f"{missing} lines have no answer ({collected.id} is {collected.status}); see {collected.errors}"
        )


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise FilesProblem(f"cannot read {source}: {error.strerror}") from error
