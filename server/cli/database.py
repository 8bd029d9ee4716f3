"""`softprompt db …`: operations on a whole database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.errors import DatabaseProblem, FilesProblem
from server.cli.output import print_error, print_json, working

if TYPE_CHECKING:
    from prompts_store.store import Store

database = typer.Typer(no_args_is_help=True, help="Maintain a database: schema, integrity, space and backups.")

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="URL of the database (SOFTPROMPT_DATABASE_URL).",
                 envvar="SOFTPROMPT_DATABASE_URL", show_envvar=False, show_default=False),
]  # fmt: skip
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data folder of the server (SOFTPROMPT_DATA_DIR).", envvar="SOFTPROMPT_DATA_DIR",
                 show_envvar=False, show_default=False),
]  # fmt: skip
File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup, a SQLite file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@database.command("upgrade")
def upgrade(*, database_url: DatabaseUrl = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Upgrade a database to the schema of this release, in one transaction. An empty database gets the whole schema."""
    from prompts_store import maintenance

    with working("Upgrading"):
        found = maintenance.upgrade(_url(database_url, data_dir))
    news = "was current already" if found.is_current else f"upgraded from {found.current or 'an empty database'}"
    _print({"from": found.current, "to": found.needed}, f"schema {found.needed}: {news}", json)


@database.command("check")
def check(*, database_url: DatabaseUrl = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Check that the schema is the one of this release. The exit code is 1 if it is not. Change nothing."""
    from prompts_store import maintenance

    found = maintenance.check(_url(database_url, data_dir, must_exist=True))
    _print(
        asdict(found) | {"is_current": found.is_current},
        f"schema {found.current or 'missing'}; this release needs {found.needed}",
        json,
    )
    if not found.is_current:
        raise DatabaseProblem("the database needs an upgrade; run: softprompt db upgrade")


@database.command("verify")
def verify(*, database_url: DatabaseUrl = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Read the whole database and recompute every digest. The exit code is 1 if something is wrong."""
    from prompts_store import maintenance

    with open_database(database_url, data_dir) as store, working("Verifying"):
        report = maintenance.verify(store)
    _print(
        asdict(report) | {"is_clean": report.is_clean},
        f"{report.num_tasks} tasks, {report.num_versions} versions, {report.num_tensors} tensors "
        f"({report.num_orphan_tensors} that no live version needs), {report.num_jobs} tuning jobs, "
        f"{report.num_files} files",
        json,
    )
    if not report.is_clean:
        for problem in report.problems:
            print_error(problem)
        raise DatabaseProblem(f"{len(report.problems)} problems were found")


@database.command("gc")
def collect_garbage(
    *,
    grace_s: Annotated[
        float, typer.Option("--grace-s", min=0, help="Keep versions retired less than this many seconds ago.")
    ] = 3600,
    keep_states_s: Annotated[
        float,
        typer.Option(
            "--keep-states-s", min=0, help="Keep the saved states of jobs that failed less than this many seconds ago."
        ),
    ] = 604_800,
    keep_batches_s: Annotated[
        float,
        typer.Option("--keep-batches-s", min=0, help="Keep batches that ended less than this many seconds ago."),
    ] = 2_592_000,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Delete tensors that only retired versions use, the saved states of jobs that failed long ago, and old batches.

    The versions and the jobs stay as tombstones. Of batches, their files go too.
    """
    from prompts_store import maintenance

    with open_database(database_url, data_dir) as store, working("Collecting garbage"):
        report = maintenance.gc(store, grace_s=grace_s, keep_states_s=keep_states_s, keep_batches_s=keep_batches_s)
    _print(
        report,
        f"freed {report.num_tensors} tensors ({report.num_tensor_bytes} bytes) of {report.num_versions} versions, "
        f"the states of {report.num_states} failed jobs, and {report.num_batches} batches with "
        f"{report.num_batch_files} files",
        json,
    )


@database.command("backup")
def backup(file: File, *, database_url: DatabaseUrl = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Write a consistent copy of the whole database into a new SQLite file. Servers may write meanwhile."""
    from prompts_store import maintenance

    with open_database(database_url, data_dir) as store, working("Backing up"), _files():
        report = maintenance.backup(store, file)
    _print(report, f"{report.num_tasks} tasks, {report.num_versions} versions -> {file}", json)


@database.command("restore")
def restore(file: File, *, database_url: DatabaseUrl = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Restore a backup into an empty SQLite or PostgreSQL database, with its numbers and history."""
    from prompts_store import maintenance

    url = _url(database_url, data_dir)
    with working("Restoring"), _files():
        report = maintenance.restore(file, url)
    _print(report, f"{report.num_tasks} tasks, {report.num_versions} versions <- {file}", json)


@contextmanager
def open_database(database_url: str | None, data_dir: Path | None) -> Iterator[Store]:
    """Open the store of the database that the options name. Raises CliError or StoreError."""
    from prompts_store.store import Store

    with Store.open(_url(database_url, data_dir, must_exist=True)) as store:
        yield store


def _url(database_url: str | None, data_dir: Path | None, *, must_exist: bool = False) -> str:
    """Return the URL of the database that the options name; as for `serve`, by default the one in the data folder."""
    from prompts_store import maintenance
    from server.settings import DATABASE_FILE, default_data_dir, sqlite_url

    if database_url is not None:
        if must_exist:
            maintenance.require_existing(database_url)
        return database_url
    folder = (data_dir or default_data_dir()).expanduser()
    if must_exist and not (folder / DATABASE_FILE).is_file():
        raise FilesProblem(f"there is no {DATABASE_FILE} in {folder}")
    if not folder.is_dir():
        raise FilesProblem(f"{folder} is not a folder")
    return sqlite_url(folder)


@contextmanager
def _files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FilesProblem(f"cannot read or write {error.filename}: {error.strerror}") from error


def _print(value: Any, text: str, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        print(text)
