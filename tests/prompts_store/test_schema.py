"""Migrations: an empty file gets the whole schema, a strange one is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from prompts_store.errors import SchemaUnsupported, StoreUnavailable
from prompts_store.records import Manifest
from prompts_store.sql.database import Database
from prompts_store.sql.schema import migrate
from prompts_store.sql.tables import metadata
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint
TASK_TYPE = "MULTITASK_PROMPT_TUNING"


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_the_migrations_make_the_tables_that_the_queries_expect(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "store.db"))
    migrate(database)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_a_store_of_the_first_release_is_read(tmp_path: Path) -> None:
    """Three versions, one retired, as revision 0001 kept them: whole, and verified against their digests."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "golden" / "store_0001.sql").read_text())
    with Store.open(str(path)) as store:
        contents = [store.load_content(F, "sentiment", number, include_retired=True) for number in (1, 2, 3)]
        assert [content.record.peft_type for content in contents] == ["PROMPT_TUNING", TASK_TYPE, "CARTRIDGE"]
        assert [content.record.digest[:8] for content in contents] == ["3e15fd8f", "c1d3410f", "5427cb47"]
        assert contents[0].record.manifest.labels == ("good", "bad")
        assert contents[0].record.retired_at is not None
        assert store.get_task(F, "sentiment").production_version == 2
        assert store.revision() == 7
        assert store.publish(BASE, "sentiment", checkpoint(seed=5), Manifest()).version.version == 4
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    with Store.open(path) as store:
        published = store.publish(BASE, "t", checkpoint(), Manifest())
    with Store.open(f"sqlite:///{path}") as store:
        assert store.get_version(F, "t", 1) == published.version
        assert store.revision() == 3


def test_the_database_is_durable_and_concurrent(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "store.db"))
    migrate(database)
    with database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_database_of_a_newer_release_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(str(path)).close()
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(SchemaUnsupported, match="newer release"):
        Store.open(str(path))
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    execute(path, "CREATE TABLE customers (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(SchemaUnsupported, match="not a soft prompt store"):
        Store.open(str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///:memory:", "postgresql://host/name", "://", "mysql://root:secret@host/name"]
)
def test_a_url_that_is_not_a_sqlite_file_is_refused(url: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        Store.open(url)
    assert "secret" not in str(refused.value)


def test_what_is_no_database_is_unavailable_with_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 20)
    with pytest.raises(StoreUnavailable) as refused:
        Store.open(str(path))
    assert refused.value.__cause__ is not None
    with pytest.raises(StoreUnavailable):
        Store.open(str(tmp_path / "missing" / "store.db"))
