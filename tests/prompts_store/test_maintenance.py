"""Verify finds what is wrong and nothing else; a backup is the store, on either database and back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from prompts_store import maintenance
from prompts_store.errors import BackupExists, BackupUnreadable, SchemaUnsupported, StoreNotEmpty, StoreUnavailable
from prompts_store.manifest import Manifest
from prompts_store.sql.databases import copying
from prompts_store.store import Store
from tests.prompts_store import golden_store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint


@pytest.fixture
def store(store: Store) -> Store:
    """Something of everything."""
    store.publish("sentiment", checkpoint(seed=1), Manifest(template="{input}"), actor="ann")
    for seed in (2, 3):
        store.publish("sentiment", checkpoint(seed=seed), Manifest(), promote=True, actor="ann")
    store.retire_version(F, "sentiment", 1)
    golden_store.fill(store)
    return store


def damage(store: Store, statement: str) -> None:
    """Write past the store, and past its foreign keys on SQLite."""
    with store.database.write() as connection:
        connection.execute(text(statement))


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_good_store_is_clean(store: Store) -> None:
    report = maintenance.verify(store)
    assert report.problems == () and report.is_clean
    assert (report.num_tasks, report.num_versions, report.num_tensors, report.num_orphan_tensors) == (3, 5, 4, 0)


def test_an_empty_store_is_clean(url: str) -> None:
    with Store.open(url) as store:
        assert maintenance.verify(store).is_clean


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE tensors SET data = 'x'", 'Version 2 of task "sentiment"'),
        ("UPDATE versions SET manifest = replace(manifest, '{input}', 'x{input}')", "does not agree with its digest"),
        ("UPDATE versions SET manifest = 'x'", "cannot be read"),
        ("DELETE FROM version_tensors WHERE version_id = 2", "does not agree with its digest"),
        ("UPDATE versions SET freed_at = created_at WHERE number = 3", "live but freed"),
        ("UPDATE versions SET retired_at = created_at WHERE number = 3", "names a version that is not live"),
        ("UPDATE alias_targets SET weight = 5 WHERE alias = 'production'", "does not have the targets"),
        ("UPDATE aliases SET move_id = 1 WHERE alias = 'canary'", "is not where its last move says"),
        ("UPDATE aliases SET shadow_of = 'beta' WHERE alias = 'next'", "is not where its last move says"),
        ("UPDATE tasks SET deleted_at = created_at WHERE name = 'topic'", "deleted but has"),
        ("UPDATE tasks SET last_version = 7 WHERE name = 'topic'", "have a gap"),
        ("UPDATE changes SET id = -1 WHERE id = 1", "never given"),
        ("UPDATE changes SET id = 900 WHERE id = 2", "never given"),
        ("DELETE FROM changes WHERE task = 'topic'", "No change tells"),
        ("UPDATE changes SET version = 9 WHERE kind = 'version_published' AND version = 2", "name version 9 after"),
    ],
)
def test_whatever_is_wrong_is_told(store: Store, statement: str, problem: str) -> None:
    damage(store, statement)
    report = maintenance.verify(store)
    assert not report.is_clean
    assert any(problem in told for told in report.problems), report.problems


def test_an_orphan_tensor_is_reported_and_freed(store: Store) -> None:
    damage(store, f"INSERT INTO tensors (sha256, data) VALUES ('{'0' * 64}', '1234')")
    report = maintenance.verify(store)
    assert (report.num_orphan_tensors, report.is_clean) == (1, True)
    assert maintenance.gc(store).num_tensor_bytes == 4
    assert maintenance.verify(store).num_orphan_tensors == 0


# --- backup and restore -----------------------------------------------------------------------------------------------


def everything(store: Store) -> list[object]:
    """Return all that the store tells, with the content that is there."""
    told: list[object] = [store.bases(), store.revision(), store.changes_since(0, 1000)]
    for task in store.list_tasks(F):
        told += [task, store.list_aliases(F, task.name)]
        told += [store.alias_history(F, task.name, alias.alias) for alias in store.list_aliases(F, task.name)]
        for version in store.list_versions(F, task.name, include_retired=True):
            told.append(version)
            if version.retired_at is None:
                content = store.load_content(F, task.name, version.version)
                told += [content.prefix.digest, content.checkpoint.config]
    return told


def test_a_backup_restored_is_the_same_store(store: Store, url: str, tmp_path: Path, target_url: str) -> None:
    """From each database to each: every answer, every etag and the next number are the same."""
    path = tmp_path / "backup.db"
    before = everything(store)
    report = maintenance.backup(store, path)
    assert (report.num_tasks, report.num_versions, report.num_tensors) == (3, 5, 4)
    assert sorted(file.name for file in tmp_path.glob("*backup*")) == ["backup.db"]
    assert maintenance.restore(path, target_url) == report
    with Store.open(target_url) as restored:
        assert everything(restored) == before
        assert maintenance.verify(restored).problems == ()
        for each in (store, restored):
            each.publish("gone", checkpoint(seed=9), Manifest(), promote=True)
            each.put_alias(F, "sentiment", "canary", 3, if_match=None, must_not_exist=False)
        assert restored.get_task(F, "gone").latest_version == store.get_task(F, "gone").latest_version == 2
        assert restored.get_alias(F, "sentiment", "canary").etag == store.get_alias(F, "sentiment", "canary").etag
        assert restored.revision() == store.revision()


@pytest.fixture(params=["to sqlite", "to postgres"])
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "to sqlite":
        return str(tmp_path / "target.db")
    url: str = request.getfixturevalue("empty_postgres")
    return url


def test_a_backup_is_a_store_itself(store: Store, tmp_path: Path) -> None:
    maintenance.backup(store, tmp_path / "backup.db")
    with Store.open(str(tmp_path / "backup.db"), migrate=False) as copy:
        assert everything(copy) == everything(store)


def test_a_backup_taken_while_the_store_is_written_is_one_state_of_it(store: Store, tmp_path: Path) -> None:
    finished = threading.Event()

    def write() -> None:
        for seed in range(100, 160):
            store.publish(f"t{seed % 3}", checkpoint(seed=seed), Manifest(), promote=True)
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    paths: list[Path] = []
    while not finished.is_set():
        paths.append(tmp_path / f"backup-{len(paths)}.db")
        maintenance.backup(store, paths[-1])
    writer.join()
    assert len(paths) > 1
    revisions = []
    for path in paths:
        with Store.open(str(path)) as copy:
            assert maintenance.verify(copy).problems == ()
            assert [change.id for change in copy.changes_since(0, 1000)] == list(range(1, copy.revision() + 1))
            revisions.append(copy.revision())
    assert revisions == sorted(revisions)


def test_a_backup_never_replaces_a_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "backup.db"
    path.write_text("precious")
    with pytest.raises(BackupExists):
        maintenance.backup(store, path)
    assert path.read_text() == "precious"


def test_a_backup_is_restored_only_into_an_empty_store(store: Store, url: str, tmp_path: Path) -> None:
    maintenance.backup(store, tmp_path / "backup.db")
    before = everything(store)
    with pytest.raises(StoreNotEmpty):
        maintenance.restore(tmp_path / "backup.db", url)
    assert everything(store) == before


def test_an_older_store_that_is_not_empty_is_not_even_upgraded(store: Store, tmp_path: Path) -> None:
    maintenance.backup(store, tmp_path / "backup.db")
    older = str(tmp_path / "older.db")
    golden_store.load(golden_store.RELEASES[0], older)
    with pytest.raises(StoreNotEmpty):
        maintenance.restore(tmp_path / "backup.db", older)
    assert maintenance.check(older).current == "0001"


def test_a_backup_of_an_older_release_is_restored_and_left_as_it_is(url: str, tmp_path: Path) -> None:
    path = tmp_path / "backup.db"
    golden_store.load(golden_store.RELEASES[0], str(path))
    before = path.read_bytes()
    assert maintenance.restore(path, url).num_versions == 3
    assert path.read_bytes() == before


def test_what_is_no_backup_is_refused(url: str, tmp_path: Path) -> None:
    path = tmp_path / "backup.db"
    with pytest.raises(BackupUnreadable, match="no file of this name"):
        maintenance.restore(path, url)
    golden_store.load(golden_store.RELEASES[-1], str(path))
    with Store.open(str(path)) as newer:
        damage(newer, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaUnsupported):
        maintenance.restore(path, url)
    with Store.open(url) as store:
        assert store.revision() == 0


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Store]:
    """A SQLite store in use, all of it still in its write-ahead log."""
    with Store.open(str(tmp_path / "live.db")) as opened:
        for seed in range(8):
            opened.publish(f"t{seed}", checkpoint(seed=seed), Manifest())
        yield opened


def left_behind(live: Path, folder: Path) -> Path:
    """Return the store as it would be had its process been killed now: the file and what lies beside it."""
    folder.mkdir()
    for file in live.parent.glob(f"{live.name}*"):
        shutil.copy(file, folder)
    return folder / live.name


def test_a_store_in_use_is_restored_with_what_its_log_holds(live: Store, url: str, tmp_path: Path) -> None:
    """The file alone has nothing of it yet."""
    assert maintenance.restore(tmp_path / "live.db", url).num_versions == 8
    live.publish("t9", checkpoint(seed=9), Manifest())
    with Store.open(url) as restored:
        assert len(restored.list_tasks(F)) == 8
        assert maintenance.verify(restored).problems == ()


def test_a_store_whose_process_was_killed_is_restored_and_left_as_it_is(live: Store, url: str, tmp_path: Path) -> None:
    """Its log is read, by any name and through a link, and stays for who looks into it later."""
    killed = left_behind(tmp_path / "live.db", tmp_path / "a %20 folder?#")
    link = tmp_path / "link.db"
    link.symlink_to(killed)
    data = [killed, killed.with_name("live.db-wal")]
    before = [file.read_bytes() for file in data]
    assert maintenance.restore(link, url).num_versions == 8
    assert [file.read_bytes() for file in data] == before


def test_a_backup_of_a_read_only_folder_is_restored(live: Store, url: str, tmp_path: Path, monkeypatch) -> None:
    """Nothing is written beside it, not even for a moment."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    maintenance.backup(live, folder / "backup.db")
    with Store.open(str(folder / "backup.db")):
        pass  # from here on it wants a log beside it
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root, who may run this, writes anywhere
    assert maintenance.restore(folder / "backup.db", url).num_versions == 8
    assert [file.name for file in folder.iterdir()] == ["backup.db"]


def test_a_log_that_cannot_be_read_is_not_left_out(live: Store, url: str, tmp_path: Path) -> None:
    """Without it a store of eight tasks would come back empty."""
    killed = left_behind(tmp_path / "live.db", tmp_path / "killed")
    killed.with_name("live.db-wal").unlink()
    killed.with_name("live.db-wal").mkdir()
    with pytest.raises(BackupUnreadable, match="the log beside the file"):
        maintenance.restore(killed, url)
    with Store.open(url) as store:
        assert store.revision() == 0


def test_a_half_written_backup_is_refused_until_it_is_rolled_back(url: str, tmp_path: Path) -> None:
    """Of SQLite's older kind of log, which a reader must write back and may not."""
    path = tmp_path / "backup.db"
    golden_store.load(golden_store.RELEASES[-1], str(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN")
        writer.execute("UPDATE versions SET manifest = hex(zeroblob(100000))")
        killed = left_behind(path, tmp_path / "killed")
    assert killed.with_name("backup.db-journal").stat().st_size > 0
    with pytest.raises(BackupUnreadable, match="softprompt db check"):
        maintenance.restore(killed, url)
    assert maintenance.check(str(killed)).is_current
    assert maintenance.restore(killed, url).num_versions > 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty database"),
        (b"no database, but long enough to be taken for one" * 100, "not a SQLite database"),
        (slice(0, 5_000), "damaged or cut off"),
        (slice(0, 8 * 4096), "damaged or cut off"),
    ],
    ids=["empty", "text", "cut off", "cut off at a page"],
)
def test_a_file_that_is_no_whole_store_is_refused(
    content: bytes | slice, reason: str, live: Store, url: str, tmp_path: Path
) -> None:
    """In a sentence, and not as an empty store."""
    path = tmp_path / "backup.db"
    maintenance.backup(live, path)
    whole = path.read_bytes()
    path.write_bytes(content if isinstance(content, bytes) else whole[content])
    with pytest.raises(BackupUnreadable, match=reason):
        maintenance.restore(path, url)
    path.write_bytes(whole[:20_000] + bytes(4096) + whole[20_000 + 4096 :])
    with pytest.raises(BackupUnreadable, match="damaged"):
        maintenance.restore(path, url)
    with Store.open(url) as store:
        assert store.revision() == 0


def test_a_store_is_not_restored_from_itself(live: Store, tmp_path: Path) -> None:
    before = everything(live)
    with pytest.raises(StoreNotEmpty):
        maintenance.restore(tmp_path / "live.db", str(tmp_path / "live.db"))
    with pytest.raises(BackupExists):
        maintenance.backup(live, tmp_path / "live.db")
    assert everything(live) == before


def test_a_restore_that_is_broken_off_leaves_nothing(live: Store, url: str, tmp_path: Path, monkeypatch) -> None:
    """It can be done again."""
    count = copying.count
    monkeypatch.setattr(copying, "count", lambda *_: 1 / 0)  # all rows are written by then
    with pytest.raises(ZeroDivisionError):
        maintenance.restore(tmp_path / "live.db", url)
    with Store.open(url) as store:
        assert store.revision() == 0
    monkeypatch.setattr(copying, "count", count)
    assert maintenance.restore(tmp_path / "live.db", url).num_versions == 8


@pytest.mark.parametrize("operation", [maintenance.check, maintenance.require_existing])
def test_looking_at_a_file_that_is_not_there_makes_none(operation: Callable[[str], object], tmp_path: Path) -> None:
    for url in (str(tmp_path / "none.db"), f"sqlite:///{tmp_path / 'none.db'}"):
        with pytest.raises(StoreUnavailable, match="no database file"):
            operation(url)
    assert not (tmp_path / "none.db").exists()
