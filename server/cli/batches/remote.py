"""A batch on a server: begun once, watched, collected."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from server.cli.batches.journal import Journal, write_whole
from server.cli.batches.lines import Prepared
from server.cli.connection import Connection, json_object, patiently
from server.cli.errors import BatchEnded, ServerRefused
from server.cli.output import console_of

POLL_INTERVAL_S = 0.5
_BATCHES = "/v1/batches"
_ENDS = ("completed", "failed", "expired", "cancelled")
_SHOWN_FAULTS = 5
_CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Collected:
    """What a batch came to. `errors` is the file of the lines without an answer; None if all have one."""

    id: str
    status: str
    num_lines: int
    num_answered: int
    errors: Path | None


class _Bar(Protocol):
    def show(self, body: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """The batch of one journal, on the server of a connection. Methods raise CliError."""

    connection: Connection
    journal: Journal

    def begin(self, prepared: Prepared) -> str:
        """Upload the file and create the batch, unless an earlier run of the command did; return the batch's id."""
        entry = self.journal.entry
        if entry.batch is not None:
            return entry.batch
        batch = None if self.journal.is_new else self._created()
        if batch is None:
            body = {
                "input_file_id": self._upload(prepared),
                "endpoint": prepared.endpoint,
                "completion_window": "24h",
                "metadata": {"softprompt_run": entry.run},
            }
            batch = str(json_object(self.connection.send("POST", _BATCHES, json=body))["id"])
        self.journal.note_batch(batch)
        return batch

    def cancel(self, batch: str) -> None:
        """Cancel a batch that has not ended."""
        try:
            self.connection.send("POST", f"{_BATCHES}/{batch}/cancel")
        except ServerRefused as error:
            if error.status != _CONFLICT:
                raise

    def watch(self, batch: str) -> dict[str, Any]:
        """Show the progress until the batch has ended; return it. The server may restart meanwhile."""
        with _bar(batch) as bar:
            while True:
                body = patiently(lambda: self.connection.read(f"{_BATCHES}/{batch}"))
                bar.show(body)
                if body["status"] in _ENDS:
                    return body
                time.sleep(POLL_INTERVAL_S)

    def collect(self, body: Mapping[str, Any], output: Path, errors: Path) -> Collected:
        """Write the files of a batch that has ended, and remove the journal. Raises BatchEnded for one without files.

        Without a line in error there is no file of errors.
        """
        if body["errors"] is not None and not body["request_counts"]["total"]:
            self.journal.remove()
            raise BatchEnded(_faults(body["errors"]["data"]))
        write_whole(output, self._content(body["output_file_id"]))
        failed = self._content(body["error_file_id"])
        if failed:
            write_whole(errors, failed)
        self.journal.remove()
        counts = body["request_counts"]
        return Collected(body["id"], body["status"], counts["total"], counts["completed"], errors if failed else None)

    def _created(self) -> str | None:
        """The batch that a killed run of the command created without learning its id."""
        for body in self.connection.pages(_BATCHES, cursor="after", key="id"):
            if (body["metadata"] or {}).get("softprompt_run") == self.journal.entry.run:
                return str(body["id"])
        return None

    def _upload(self, prepared: Prepared) -> str:
        """Upload the file, unless a killed run of the command did; return its id."""
        name = f"softprompt-{self.journal.entry.run}.jsonl"
        if not self.journal.is_new:
            for body in self.connection.pages("/v1/files", cursor="after", key="id"):
                if body["filename"] == name:
                    return str(body["id"])
        sent = self.connection.send(
            "POST", "/v1/files", files={"file": (name, prepared.data)}, data={"purpose": "batch"}
        )
        return str(json_object(sent)["id"])

    def _content(self, file: str | None) -> bytes:
        if file is None:
            return b""
        return patiently(lambda: self.connection.send("GET", f"/v1/files/{file}/content")).content


def _faults(faults: list[dict[str, Any]]) -> str:
    shown = [
        fault["message"] if fault["line"] is None else f"line {fault['line']}: {fault['message']}"
        for fault in faults[:_SHOWN_FAULTS]
    ]
    more = len(faults) - len(shown)
    return " ".join(shown) + (f" ({more} more)" if more else "")


@contextmanager
def _bar(batch: str) -> Iterator[_Bar]:
    """A progress bar on a terminal, else a line per change of status."""
    console = console_of(sys.stderr)
    if not console.is_terminal:
        yield _Lines(batch)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Terminal(batch, progress, progress.add_task(batch, total=None))


@dataclass(slots=True)
class _Terminal:
    batch: str
    progress: Any
    task: Any

    def show(self, body: Mapping[str, Any]) -> None:
        counts = body["request_counts"]
        done = counts["completed"] + counts["failed"]
        text = f"{self.batch} {body['status']}"
        self.progress.update(self.task, description=text, total=counts["total"] or None, completed=done)


@dataclass(slots=True)
class _Lines:
    batch: str
    status: str = ""

    def show(self, body: Mapping[str, Any]) -> None:
        if body["status"] != self.status:
            self.status = body["status"]
            print(f"{self.batch} is {self.status}", file=sys.stderr)
