"""The errors of commands. The message is the one line that the user reads.

CliError                 exit code 1
├── UsageProblem         the command line or a setting is wrong; exit code 2
├── FilesProblem         a file or folder cannot be read or written
├── TuningProblem        examples, hyperparameters or a run are refused, or a score is too low
├── ServerUnreachable    there was no answer from the URL
├── ServerRefused        the server returned an error; the message is the server's
├── JobEnded             a tuning job on a server ended without a version, or there is none
├── BatchEnded           a batch was refused, or some of its lines have no answer
├── DatabaseProblem      a check of a database found a problem
├── BaseUnreadable       the base model's identity cannot be read
└── StartFailed          `softprompt serve` could not start

The messages of the store's errors (prompts_store.errors) are for the user too, and are printed unchanged.
"""

from __future__ import annotations

from typing import ClassVar


class CliError(Exception):
    """Base of all errors of the command line."""

    exit_code: ClassVar[int] = 1


class UsageProblem(CliError):
    """Options contradict each other, or a setting is out of range."""

    exit_code = 2


class FilesProblem(CliError):
    """A file or folder that the user named cannot be read or written."""


class TuningProblem(CliError):
    """Tuning or evaluation refused its input, or failed."""


class ServerUnreachable(CliError):
    """There was no answer from the URL, or the connection broke."""


class ServerRefused(CliError):
    """The server returned an error. `status` is the HTTP status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class JobEnded(CliError):
    """A tuning job failed or was cancelled, or there is none to watch."""


class BatchEnded(CliError):
    """A batch was refused, or some of its lines have no answer."""


class DatabaseProblem(CliError):
    """A check of a database found a problem that needs action."""


class BaseUnreadable(CliError):
    """The base model that a database's tasks belong to cannot be read."""


class StartFailed(CliError):
    """`softprompt serve` could not start."""
