"""The text and the JSON of tasks, versions, alias moves and purges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from prompts_store.records import Alias, AliasMove, TaskRecord
from prompts_store.reports import PurgeReport
from server.cli.output import fields_of, one_line, print_table
from server.cli.tasks.aliases import describe_targets
from server.cli.tasks.backend import VersionSummary


def task_json(task: TaskRecord) -> dict[str, Any]:
    """Return the fields of a task that `--json` prints."""
    return fields_of(task, ("name", "description", "latest_version", "production_version"))


def move_json(move: AliasMove) -> dict[str, Any]:
    """Return the fields of an alias's move that `--json` prints."""
    names = ("alias", "from_targets", "to_targets", "shadow_of", "moved_at", "moved_by", "reason")
    return fields_of(move, names)


def print_tasks(tasks: Sequence[TaskRecord]) -> None:
    """Print tasks as a table."""
    rows = [(task.name, task.production_version, task.latest_version, task.description) for task in tasks]
    print_table(("TASK", "PRODUCTION", "LATEST", "DESCRIPTION"), rows)


def print_moves(moves: Sequence[AliasMove]) -> None:
    """Print the moves of an alias as a table."""
    rows = [
        (
            _to_the_second(move.moved_at),
            move.moved_by,
            describe_targets(move.from_targets),
            describe_targets(move.to_targets),
            move.reason,
        )
        for move in moves
    ]
    print_table(("WHEN", "WHO", "FROM", "TO", "REASON"), rows)


def print_task(task: TaskRecord, versions: Sequence[VersionSummary], aliases: Sequence[Alias]) -> None:
    """Print a task: its description, and its versions as a table."""
    if task.description:
        print(one_line(task.description))
    rows = [
        (
            version.version,
            ", ".join(_names_of(version.version, aliases)) or None,
            version.peft_type or f"of {' '.join(map(str, version.members))}",
            version.num_virtual_tokens,
            version.digest[:12],
            _to_the_second(version.created_at),
            version.manifest.get("note", ""),
        )
        for version in versions
    ]
    print_table(("VERSION", "ALIASES", "TYPE", "TOKENS", "DIGEST", "CREATED", "NOTE"), rows)


def print_purged(report: PurgeReport) -> None:
    """Print what a purge removed."""
    print(
        f"purged {report.task}: {report.num_versions} versions, {report.num_tensors} tensors "
        f"({report.num_tensor_bytes} bytes), {report.num_alias_moves} alias moves, "
        f"{report.num_jobs} tuning jobs, {report.num_batches} batches, {report.num_files} files, "
        f"{report.num_interrupted_runs} interrupted runs"
    )
    if report.num_shared_tensors:
        print(f"{report.num_shared_tensors} tensors stay: other tasks have the same bytes")
    if not report.log_is_clear:
        print("the database's own log may hold copies until the database overwrites it")


def _names_of(version: int, aliases: Sequence[Alias]) -> Iterator[str]:
    """Yield the aliases of a version, with its share if an alias has several versions."""
    for alias in aliases:
        total = sum(target.weight for target in alias.targets)
        for target in alias.targets:
            if target.version == version:
                share = "" if len(alias.targets) == 1 else f" ({target.weight / total:.0%})"
                yield f"{alias.alias}{share}"


def _to_the_second(moment: datetime) -> str:
    return moment.isoformat()[:19]
