"""Files and tuning jobs on a server, over its HTTP API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from server.cli.connection import Connection, error_text, json_object
from server.cli.errors import FilesProblem, ServerRefused
from server.cli.tasks.http_backend import NOT_FOUND

_JOBS = "/v1/fine_tuning/jobs"


@dataclass(frozen=True, slots=True)
class JobView:
    """A tuning job. `version` is its result, `error` the reason of its failure."""

    id: str
    task: str
    status: str
    version: int | None
    error: str | None
    metrics: Mapping[str, Any]

    @property
    def has_ended(self) -> bool:
        """Whether the status is final."""
        return self.status in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class EventView:
    """One entry of a job's log. `data` has the numbers. `created_at` is when it was stored, in Unix time."""

    id: str
    created_at: int
    message: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HttpJobs:
    """The jobs of one server. Methods raise ServerRefused and ServerUnreachable."""

    connection: Connection

    def base_id(self) -> str:
        """Return the base model's id."""
        return str(self.connection.read("/version")["base_model"]["id"])

    def upload(self, path: Path) -> str:
        """Upload a file of examples and return its id. Raises FilesProblem too."""
        try:
            with path.open("rb") as file:
                return self._upload(path.name, file)
        except OSError as error:
            raise FilesProblem(f"cannot read {path}: {error.strerror}") from error

    def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file."""
        self.connection.send("DELETE", f"/v1/files/{file_id}")

    def create(self, body: Mapping[str, Any]) -> JobView:
        """Create a job."""
        return _job_view(json_object(self.connection.send("POST", _JOBS, json=body)))

    def get(self, job_id: str) -> JobView:
        """Return a job as it is now."""
        return _job_view(self.connection.read(f"{_JOBS}/{job_id}"))

    def cancel(self, job_id: str) -> None:
        """Cancel a job that has not ended."""
        self.connection.send("POST", f"{_JOBS}/{job_id}/cancel")

    def resume(self, job_id: str) -> None:
        """Put a paused job, or a failed one with a saved state, back into the queue."""
        self.connection.send("POST", f"{_JOBS}/{job_id}/resume")

    def newest(self, task: str) -> JobView | None:
        """Return the newest job of a task, or None."""
        jobs = map(_job_view, self.connection.pages(_JOBS, cursor="after", key="id"))
        return next((job for job in jobs if job.task == task), None)

    def events_after(self, job_id: str, last_seen: str | None) -> Sequence[EventView]:
        """Return the entries of a job's log after an entry, or from the first one, in the order of the log."""
        found = []
        for item in self.connection.pages(f"{_JOBS}/{job_id}/events", cursor="after", key="id"):
            if item["id"] == last_seen:
                break
            found.append(EventView(item["id"], item["created_at"], item["message"], item["data"]))
        return found[::-1]

    def plot(self, task: str, version: int) -> bytes | None:
        """Return the plot of a version, or None."""
        try:
            return self.connection.send("GET", f"/v1/tasks/{task}/versions/{version}/plot.png").content
        except ServerRefused as error:
            if error.status != NOT_FOUND:
                raise
            return None

    def _upload(self, name: str, file: BinaryIO) -> str:
        sent = self.connection.send("POST", "/v1/files", files={"file": (name, file)}, data={"purpose": "fine-tune"})
        return str(json_object(sent)["id"])


def _job_view(body: Mapping[str, Any]) -> JobView:
    error = None if body["error"] is None else error_text(body["error"])
    return JobView(body["id"], body["task"], body["status"], body["version"], error, body["metrics"])
