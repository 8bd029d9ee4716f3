"""A tuning run on a server: created, watched, then left or cancelled, and its outcome."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.cli.connection import Connection, connect, patiently
from server.cli.errors import CliError, JobEnded, ServerRefused
from server.cli.output import one_line
from server.cli.tasks.checkpoint_folder import write_version
from server.cli.tasks.http_backend import HttpTaskBackend
from server.cli.tuning.http_jobs import EventView, HttpJobs, JobView
from server.cli.tuning.options import ServerOptions
from server.cli.tuning.order import Order
from server.cli.tuning.outcome import Outcome, gate_news, version_news, write_plot
from server.cli.tuning.view import TuneView
from server.tuning.events import Extended, StepDone, TuningEvent, event_from_json
from server.tuning.scores import Scores

if TYPE_CHECKING:
    from server.tuning.teaching import Distillation

POLL_INTERVAL_S = 0.5
_CONFLICT = 409


def tune_remotely(order: Order, url: str, server: ServerOptions, *, base_model: str | None) -> Outcome:
    """Tune on a server, and show the progress. Raises CliError."""
    with connect(url, server.api_key) as connection:
        jobs = HttpJobs(connection)
        job = _newest(jobs, order.task) if order.run.resume else _begin(jobs, order, base_model)
        watched = WatchedJob(jobs, job)
        try:
            watched.watch()
        except KeyboardInterrupt:
            _leave(watched, cancel=server.cancel_on_interrupt)
            raise
        except CliError:
            print(f"softprompt: {job.id} may continue on the server; --resume watches it again", file=sys.stderr)
            raise
        return _outcome(connection, watched, order.run.save)


class WatchedJob:
    """A job, followed by its log. A `TuneView` shows it like a run on this machine."""

    def __init__(self, jobs: HttpJobs, job: JobView) -> None:
        self.jobs = jobs
        self.job = job
        self.log: list[EventView] = []
        self.history: list[TuningEvent] = []
        self.step = 0
        self.num_steps: int | None = None

    def watch(self) -> None:
        """Show the job until it has ended, also across restarts of its server. Raises CliError."""
        with TuneView(self, self.job.task) as view:
            while True:
                self.job = patiently(lambda: self.jobs.get(self.job.id))
                taken = self._take(patiently(self._news))
                view.show([event for event, _ in taken], [created_at for _, created_at in taken])
                if self.job.has_ended:  # and all its events have been read
                    return
                time.sleep(POLL_INTERVAL_S)

    def last_reported(self, name: str) -> Mapping[str, Any]:
        """Return the data of the last entry of the log that has this field, or an empty mapping."""
        return next((event.data for event in reversed(self.log) if name in event.data), {})

    def _news(self) -> list[EventView]:
        return list(self.jobs.events_after(self.job.id, self.log[-1].id if self.log else None))

    def _take(self, news: list[EventView]) -> list[tuple[TuningEvent, float]]:
        """Record new entries and return their events with their times. Print the other entries to standard error."""
        events: list[tuple[TuningEvent, float]] = []
        for event in news:
            try:
                events.append((event_from_json(event.data), event.created_at))
            except ValueError:
                if "tokens" not in event.data:  # an entry with tokens is a preview, which its message does not show
                    print(one_line(event.message), file=sys.stderr)
        self.log += news
        self.history += [event for event, _ in events]
        for counted, _ in events:
            if isinstance(counted, StepDone | Extended):
                self.step, self.num_steps = counted.step, counted.num_steps
        return events


def _begin(jobs: HttpJobs, order: Order, base_model: str | None) -> JobView:
    """Upload the files and create the job. If that fails, delete the uploaded files."""
    model = base_model or jobs.base_id()
    uploaded: list[str] = []
    try:
        for path in order.files:
            uploaded.append(jobs.upload(path))
        return jobs.create(_request(order, model, uploaded))
    except (CliError, KeyboardInterrupt):
        for file_id in uploaded:
            jobs.delete_file(file_id)
        raise


def _request(order: Order, model: str, uploaded: list[str]) -> dict[str, Any]:
    """Return the body of `POST /v1/fine_tuning/jobs` for the given options."""
    hyperparameters = order.options.given()
    hyperparameters.pop("seed", None)
    if "num_epochs" in hyperparameters:
        hyperparameters["n_epochs"] = hyperparameters.pop("num_epochs")
    request = {
        "model": model,
        "suffix": order.task,
        "training_file": uploaded[0],
        "seed": order.options.seed or 0,
        "promote": order.gate is not None,
        **order.about.job_fields(),
    }
    if order.distillation is None:
        request["hyperparameters"] = hyperparameters
    else:
        body = {**_distillation(order.distillation), "hyperparameters": hyperparameters}
        request["method"] = {"type": "distillation", "distillation": body}
    if len(uploaded) > 1:
        request["validation_file"] = uploaded[1]
    if order.gate is not None:
        request["gate"] = asdict(order.gate)
    return request


def _distillation(distillation: Distillation) -> dict[str, Any]:
    """The text is the training file if it is a document."""
    text = {"document": True} if distillation.is_document else {"instruction": distillation.instruction}
    return {**text, "max_answer_tokens": distillation.max_answer_tokens, "num_inputs": distillation.num_inputs}


def _newest(jobs: HttpJobs, task: str) -> JobView:
    """Return the newest job of a task, which may have ended. Resume it if it is paused, or failed and resumable."""
    job = jobs.newest(task)
    if job is None:
        raise JobEnded(f"{task} has no job to resume")
    if job.status in ("paused", "failed"):
        try:
            jobs.resume(job.id)
        except ServerRefused as error:
            if error.status != _CONFLICT or job.status == "paused":
                raise
    return job


def _leave(watched: WatchedJob, *, cancel: bool) -> None:
    """Cancel the job or leave it to the server, and print which."""
    of = "" if watched.num_steps is None else f" after step {watched.step} of {watched.num_steps}"
    if cancel:
        watched.jobs.cancel(watched.job.id)
        print(f"softprompt: cancelled {watched.job.id}{of}", file=sys.stderr)
    else:
        print(
            f"softprompt: detached{of}; {watched.job.id} continues on the server, --resume watches it again",
            file=sys.stderr,
        )


def _outcome(connection: Connection, watched: WatchedJob, save: Path | None) -> Outcome:
    """Return the outcome of an ended job. Raises JobEnded if it has no version."""
    job = watched.job
    if job.version is None:
        raise JobEnded(f"{job.id} was cancelled" if job.error is None else job.error)
    metrics, published = job.metrics, watched.last_reported("digest")
    gate = watched.last_reported("gate_passed")
    news = [gate_news(gate["gate_passed"], gate["gate_reason"])] if gate else []
    if save is not None:
        _save(connection, job.task, job.version, save)
        news.append(f"saved in {save}")
    news.append(version_news(job.task, job.version, created=published["created"], promoted=published["promoted"]))
    scored: dict[str, Any] = {field.name: metrics.get(field.name) for field in fields(Scores) if field.name != "name"}
    scored["perplexity"] = metrics.get("perplexity", math.nan)
    has_scores = "not_evaluated" not in metrics  # an event in its log has the reason
    return Outcome(
        task=job.task,
        version=job.version,
        digest=published["digest"],
        promoted=published["promoted"],
        scores=(Scores(f"{job.task} (new)", **scored),) if has_scores else (),
        metrics=metrics,
        num_steps=watched.step,
        folder=None if save is None else str(save),
        news=tuple(news),
    )


def _save(connection: Connection, task: str, version: int, folder: Path) -> None:
    backend = HttpTaskBackend(connection)
    manifest = backend.get_version(f"{task}@{version}").manifest
    write_version(folder, backend.read_files(task, version), manifest, overwrite=True)
    picture = HttpJobs(connection).plot(task, version)
    if picture is not None:
        write_plot(folder, picture)
