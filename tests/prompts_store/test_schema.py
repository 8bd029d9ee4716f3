"""Migrations: an empty file gets the whole schema, a strange one is left alone."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from prompts_store import maintenance
from prompts_store.batch_records import BatchFault
from prompts_store.batch_store import BatchStore
from prompts_store.errors import SchemaOutdated, SchemaUnsupported, StoreUnavailable, VersionNotFound
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import AliasTarget
from prompts_store.sql.databases.database import Database
from prompts_store.sql.databases.schema import NEEDED, migrate
from prompts_store.sql.tables import metadata
from prompts_store.store import Store
from prompts_store.tuning_records import JobError, JobStatus
from prompts_store.tuning_store import TuningStore
from tests.prompts_store import golden_store, postgres
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.conftest import DATABASES

F = BASE.fingerprint
TASK_TYPE = "MULTITASK_PROMPT_TUNING"


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_the_migrations_make_the_tables_that_the_queries_expect(url: str) -> None:
    database = Database(url)
    migrate(database)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_the_needed_revision_is_the_newest_migration(url: str) -> None:
    """A start compares the database with a number that stands in the code, without reading the migrations."""
    database = Database(url)
    migrate(database)
    with database.read() as connection:
        assert MigrationContext.configure(connection).get_current_heads() == (NEEDED,)
    database.close()


def test_a_current_store_is_opened_without_alembic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start but the first: importing Alembic is a tenth of a second of each."""
    path = str(tmp_path / "store.db")
    Store.open(path).close()
    monkeypatch.setitem(sys.modules, "prompts_store.sql.databases.upgrade", None)
    Store.open(path).close()
    with pytest.raises(ImportError):
        Store.open(str(tmp_path / "new.db"))


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("release", golden_store.RELEASES, ids=lambda release: release.stem)
def test_a_store_of_every_release_is_read(
    release: Path, database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Three versions, one retired, as each release kept them: whole, and verified against their digests."""
    url = str(tmp_path / "store.db") if database == "sqlite" else request.getfixturevalue("empty_postgres")
    golden_store.load(release, url)
    with Store.open(url, migrate=True) as store:
        contents = [store.load_content(F, "sentiment", number, include_retired=True) for number in (1, 2, 3)]
        assert [content.record.peft_type for content in contents] == ["PROMPT_TUNING", TASK_TYPE, "CARTRIDGE"]
        assert [content.record.digest[:8] for content in contents] == ["3e15fd8f", "c1d3410f", "5427cb47"]
        assert contents[0].record.manifest.labels == ("good", "bad")
        assert contents[0].record.retired_at is not None
        assert store.get_task(F, "sentiment").production_version == 2
        assert store.get_alias(F, "sentiment", "production").etag == "2"
        moves = store.alias_history(F, "sentiment", "production")
        assert [(move.from_version, move.to_version, move.moved_by) for move in moves][-2:] == [
            (1, 2, "ann"),
            (None, 1, "ann"),
        ]
        assert store.revision() == store.changes_since(0, 100)[-1].id >= 7
        assert maintenance.verify(store).problems == ()
        assert store.publish("sentiment", checkpoint(seed=5), Manifest()).version.version == 4
        moved = store.put_alias(F, "sentiment", "production", 3, if_match="2", must_not_exist=False)
        assert int(moved.etag) > 2
        assert store.rollback(F, "sentiment").version == 2


def test_what_the_second_revision_brought_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    golden_store.load(golden_store.FOLDER / "store_0002.sql", path)
    with Store.open(path) as store:
        canary, shadow, _ = store.list_aliases(F, "sentiment")
        assert canary.targets == (AliasTarget(2, 90), AliasTarget(3, 10))
        assert (shadow.shadow_of, shadow.version, shadow.reason) == ("production", 3, "try it")
        manifest = store.get_version(F, "topic", 2).manifest
        assert (manifest.parent_version, manifest.training_data_digest) == (1, "d" * 64)
        with pytest.raises(VersionNotFound, match="freed"):
            store.load_content(F, "topic", 1, include_retired=True)
        assert store.publish("gone", checkpoint(seed=8), Manifest()).version.version == 2


def test_what_the_third_revision_brought_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    golden_store.load(golden_store.FOLDER / "store_0003.sql", path)
    with Store.open(path) as store:
        tuning = TuningStore(store)
        assert tuning.load_file(1) == b'{"prompt": "a", "completion": "b"}'
        resting, done = tuning.list_jobs(F)
        assert (done.status, done.version, done.trained_tokens, done.metrics) == ("succeeded", 1, 9, {"loss": 0.5})
        assert tuning.load_plot(F, "mood", 1) == b"PNG"
        assert (resting.status, resting.request) == ("paused", {"template": "{input}"})
        assert tuning.list_events(F, resting.id)[0].message == "The job was paused."
        tuning.resume_job(F, resting.id)
        claim, _ = golden_store.claimed(tuning.claim_job(F, JobStatus.QUEUED, "server-2"))
        assert tuning.load_checkpoint(claim) == b"state"


def test_what_the_fourth_revision_brought_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    golden_store.load(golden_store.FOLDER / "store_0004.sql", path)
    with Store.open(path) as store:
        ensemble = store.resolve(F, TaskReference.parse("votes"))
        assert (ensemble.version, [member.version for member in ensemble.members]) == (3, [2, 1])
        assert ensemble.digest[:8] == "7f1566ad"
        assert maintenance.verify(store).is_clean


def test_what_the_fifth_revision_brought_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    golden_store.load(golden_store.FOLDER / "store_0005.sql", path)
    with Store.open(path) as store:
        ci, old = store.list_keys()
        assert (ci.grant.scopes, ci.grant.tasks) == ({"infer"}, ("sentiment",))
        assert ci.grant.limits.max_requests_per_minute == 60
        assert (ci.grant.salt, ci.created_by, old.revoked_by) == ("team", "ann", "bob")
        assert [key.name for key in store.key_table().keys] == ["ci"]
        assert [(entry.kind, entry.key, entry.changed_by) for entry in store.audit(limit=2)] == [
            ("key_revoked", "old", "bob"),
            ("key_created", "old", "ann"),
        ]


@pytest.mark.parametrize("database", DATABASES)
def test_a_state_that_the_release_before_saved_is_gone_on_from(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It was one value; now it is a checkpoint's only chunk."""
    url = str(tmp_path / "store.db") if database == "sqlite" else request.getfixturevalue("empty_postgres")
    golden_store.load(golden_store.FOLDER / "store_0005.sql", url)
    with Store.open(url, migrate=True) as store:
        tuning = TuningStore(store)
        resting = tuning.list_jobs(F)[0]
        tuning.resume_job(F, resting.id)
        claim, _ = golden_store.claimed(tuning.claim_job(F, JobStatus.QUEUED, "server-2"))
        assert tuning.load_checkpoint(claim) == b"state"
        assert [one.step for one in tuning.list_checkpoints(F, claim.job_id)] == [3]
        tuning.save_checkpoint(claim, 4, {}, b"the next state")
        assert tuning.load_checkpoint(claim) == b"the next state"
        assert maintenance.verify(store).problems == ()


def test_what_the_sixth_revision_brought_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    golden_store.load(golden_store.FOLDER / "store_0006.sql", path)
    with Store.open(path) as store:
        tuning = TuningStore(store)
        (silent,) = tuning.heartbeats(F)
        assert tuning.take_over(silent, JobError("server_stopped", "one server after another stopped")) == "queued"
        claim, job = golden_store.claimed(tuning.claim_job(F, JobStatus.QUEUED, "server-2"))
        assert (job.id, tuning.load_checkpoint(claim)) == (silent.claim.job_id, b"state in chunks")
        assert maintenance.verify(store).problems == ()


@pytest.mark.parametrize("database", DATABASES)
def test_what_the_seventh_revision_brought_is_read(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A batch that is done has its files, and one whose server has stopped goes on behind its kept result."""
    url = str(tmp_path / "store.db") if database == "sqlite" else request.getfixturevalue("empty_postgres")
    golden_store.load(golden_store.FOLDER / "store_0007.sql", url)
    with Store.open(url, migrate=True) as store:
        batches, tuning = BatchStore(store), TuningStore(store)
        going, done = batches.page(F, owner="key:ci")
        assert (done.status, done.num_answered, done.num_failed, done.metadata) == ("completed", 1, 1, {"night": "1"})
        assert done.output_file is not None
        assert tuning.load_file(done.output_file) == b'{"answer": "b"}\n'
        (silent,) = batches.beats(F)
        assert batches.take_over(silent, BatchFault("server_stopped", "stopped"))
        claim, record = golden_store.claimed_batch(batches.claim(F, "server-2"))
        assert (record.id, batches.done(claim)) == (going.id, {2})
        assert maintenance.verify(store).problems == ()


def test_every_revision_has_a_golden_store(tmp_path: Path) -> None:
    """A new revision comes with one of its own: `python -m tests.prompts_store.golden_store`."""
    path = tmp_path / "empty.db"
    path.touch()
    assert golden_store.RELEASES[-1].stem == f"store_{maintenance.check(str(path)).needed}"


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    with Store.open(path) as store:
        published = store.publish("t", checkpoint(), Manifest())
    with Store.open(f"sqlite:///{path}") as store:
        assert store.get_version(F, "t", 1) == published.version
        assert store.revision() == 3


def test_the_database_is_durable_and_concurrent(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "store.db"))
    migrate(database)
    with database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
        }
    database.close()
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
        "secure_delete": 1,
    }


def test_a_database_of_a_newer_release_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(str(path)).close()
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(SchemaUnsupported, match="newer release"):
        Store.open(str(path))
    assert path.read_bytes() == before


def test_a_postgres_of_a_newer_release_is_refused_untouched(empty_postgres: str) -> None:
    maintenance.upgrade(empty_postgres)
    postgres.execute(empty_postgres, "UPDATE alembic_version SET version_num = '9999'")
    for call in (Store.open, maintenance.upgrade, maintenance.check):
        with pytest.raises(SchemaUnsupported, match="newer release"):
            call(empty_postgres)


def test_a_postgres_that_is_behind_is_refused_with_the_command_that_helps(empty_postgres: str) -> None:
    assert maintenance.check(empty_postgres).current is None
    with pytest.raises(SchemaOutdated, match="softprompt db upgrade"):
        Store.open(empty_postgres)
    golden_store.load(golden_store.RELEASES[0], empty_postgres)
    assert maintenance.check(empty_postgres).current == "0001"
    with pytest.raises(SchemaOutdated, match="softprompt db upgrade"):
        Store.open(empty_postgres)
    assert maintenance.upgrade(empty_postgres).current == "0001"
    assert maintenance.check(empty_postgres).is_current
    Store.open(empty_postgres).close()


def test_a_file_that_is_behind_is_refused_where_migration_is_not_wanted(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    golden_store.load(golden_store.RELEASES[0], str(path))
    before = path.read_bytes()
    with pytest.raises(SchemaOutdated):
        Store.open(str(path), migrate=False)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    execute(path, "CREATE TABLE customers (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(SchemaUnsupported, match="not a soft prompt store"):
        Store.open(str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "url",
    ["", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://root:secret@host", "://", "mysql://root:secret@host"],
)
def test_a_url_of_something_else_is_refused(url: str) -> None:
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
