"""The `softprompt` command.

serving/          `softprompt serve`
tasks/            `softprompt task …`
tuning/           `softprompt tune`, `softprompt distil` and `softprompt evaluate`
keys/             `softprompt key …` and `softprompt audit`
batches/          `softprompt batch`
database.py       `softprompt db …`: upgrade, check, verify, gc, backup, restore
generate.py       `softprompt generate`: one completion
vllm_export.py    `softprompt vllm-export`: soft prompts as files for vLLM
option_groups.py  dataclasses of options as parameters of a command
where.py          the options that name a server or a database
connection.py     HTTP to a server, and its errors
output.py         standard output, progress and errors
streams.py        the standard streams: encodings, closed streams, readers that leave
errors.py         the errors of commands, and their exit codes
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from prompts_store.errors import StoreError
from server import __version__
from server.cli.batches.commands import batch
from server.cli.database import database
from server.cli.errors import CliError
from server.cli.generate import generate
from server.cli.keys.commands import audit, keys
from server.cli.output import print_error
from server.cli.serving.serve import serve
from server.cli.streams import prepare_streams, silence
from server.cli.tasks.commands import tasks
from server.cli.tuning.commands import tune
from server.cli.tuning.distil import distil
from server.cli.tuning.evaluate import evaluate
from server.cli.vllm_export import vllm_export

logger = logging.getLogger(__name__)

INTERRUPTED = 130

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command("serve")(serve)
app.add_typer(tasks, name="task")
app.add_typer(database, name="db")
app.add_typer(keys, name="key")
app.command("audit")(audit)
app.command("generate")(generate)
app.command("batch")(batch)
app.command("tune")(tune)
app.command("distil")(distil)
app.command("evaluate")(evaluate)
app.command("vllm-export")(vllm_export)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def softprompt(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Serve many soft prompts over one frozen language model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C.

    This is the edge of the process: every error becomes one line on standard error. If the reader of the output has
    gone, the command ends silently.
    """
    prepare_streams()
    try:
        return _run(arguments)
    except (BrokenPipeError, SystemExit):  # typer and rich turn a BrokenPipeError into a SystemExit
        silence(sys.stdout, sys.stderr)
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = get_command(app)(arguments, prog_name="softprompt", standalone_mode=False)
        sys.stdout.flush()
    except CliError as error:
        print_error(str(error))
        return error.exit_code
    except typer.TyperException as error:
        if message := error.format_message():  # none if the help is shown instead
            print_error(message)
        return error.exit_code
    except StoreError as error:
        param = getattr(error, "param", None)
        print_error(f"{param}: {error}" if param else str(error))
        return 1
    except typer.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        logger.debug("unexpected", exc_info=True)
        print_error(f"{type(error).__name__}: {error}")
        return 1
    return code if isinstance(code, int) else 0
