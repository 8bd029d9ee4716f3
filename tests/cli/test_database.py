"""`softprompt db …`: an operator's look after a database."""

import json
import sqlite3

import pytest

from prompts_store import maintenance
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.cli.tasks.checkpoint_folder import read_publication
from server.settings import DATABASE_FILE
from tests.prompts_store import postgres
from tests.prompts_store.conftest import without_postgres

TOLD = "1 tasks, 2 versions, 2 tensors (0 that no live version needs), 0 tuning jobs, 0 files"


@pytest.fixture
def db(softprompt, data_dir):
    """Run a command on the data folder's database."""

    def run(*arguments, data_dir=data_dir):
        return softprompt("db", *arguments, "--data-dir", data_dir)

    return run


@pytest.fixture
def migrated_postgres():
    """The URL of a PostgreSQL database with the schema."""
    try:
        with postgres.private_cluster() as cluster:
            maintenance.upgrade(cluster.url())
            yield cluster.url()
    except postgres.NoPostgres as reason:
        without_postgres(reason)


@pytest.fixture
def published(backend, write_checkpoint):
    """A task with two versions."""
    for seed in (1, 2):
        backend.publish(read_publication(write_checkpoint("mood", seed), max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES))
    return backend


def test_an_empty_database_is_upgraded_and_then_current(db):
    """Check says what upgrade is to do, in its exit code too."""
    code, _, err = db("check")
    assert code == 1
    assert err.startswith("softprompt: there is no softprompt.db in ")
    assert db("upgrade")[0] == 0
    code, out, _ = db("upgrade")
    assert code == 0
    assert out.endswith(": was current already\n")
    code, out, _ = db("check", "--json")
    assert (code, json.loads(out)["is_current"]) == (0, True)


def test_a_database_of_an_older_release_is_named_so(db, data_dir):
    """With the remedy; check changes nothing."""
    db("upgrade")
    with sqlite3.connect(data_dir / DATABASE_FILE) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    for _ in range(2):
        code, _, err = db("check")
        assert (code, err) == (1, "softprompt: the database needs an upgrade; run: softprompt db upgrade\n")


def test_serve_refuses_a_database_that_is_behind(softprompt, migrated_postgres):
    """In one line with the remedy, before the model is loaded; the database is not touched."""
    postgres.execute(migrated_postgres, "UPDATE alembic_version SET version_num = '0001'")
    code, _, err = softprompt("serve", "--port", "0", "--database-url", migrated_postgres, "--base-model", "/none")
    assert code == 1
    assert err.splitlines()[-1] == "softprompt: The database needs an upgrade; run: softprompt db upgrade"


def test_verify_names_what_is_wrong(db, published, data_dir):
    """And is clean before."""
    code, out, err = db("verify")
    assert (code, out, err) == (0, f"{TOLD}\n", "")
    with sqlite3.connect(data_dir / DATABASE_FILE) as connection:
        connection.execute("UPDATE tensors SET data = zeroblob(length(data))")
    connection.close()
    code, _, err = db("verify")
    assert code == 1
    assert err.splitlines()[-1].endswith("problems were found")
    assert json.loads(db("verify", "--json")[1])["is_clean"] is False


def test_gc_frees_what_was_retired(db, published):
    """Not within its time of grace."""
    published.retire("mood", 2)
    assert json.loads(db("gc", "--json")[1])["num_tensors"] == 0
    assert json.loads(db("gc", "--grace-s", "0", "--json")[1])["num_tensors"] == 1


def test_a_backup_comes_back_whole_and_only_into_an_empty_database(db, softprompt, published, tmp_path):
    """Neither a file nor a store is overwritten."""
    file = tmp_path / "backup.db"
    code, out, _ = db("backup", file)
    assert (code, out) == (0, f"1 tasks, 2 versions -> {file}\n")
    assert db("backup", file)[0] == 1
    assert db("restore", file)[0] == 1
    (tmp_path / "other").mkdir()
    assert db("restore", file, data_dir=tmp_path / "other")[0] == 0
    code, out, _ = softprompt("task", "list", "--json", "--data-dir", tmp_path / "other")
    assert (code, json.loads(out)[0]["latest_version"]) == (0, 2)


def test_a_backup_into_a_folder_that_is_not_there_is_one_line(db, published, tmp_path):
    """Like every failure."""
    code, _, err = db("backup", tmp_path / "no" / "backup.db")
    assert code == 1
    assert err.startswith("softprompt: cannot read or write")


@pytest.mark.parametrize("command", [("check",), ("verify",), ("gc",), ("backup", "to.db")])
def test_a_mistyped_database_is_not_an_empty_one(softprompt, tmp_path, command):
    """Nothing is clean, and nothing backed up, that is not there; no file is made."""
    code, _, err = softprompt("db", *command, "--database-url", f"sqlite:///{tmp_path}/tpyo.db")
    assert code == 1
    assert err.startswith("softprompt: There is no database file ")
    assert list(tmp_path.glob("*.db")) == []


def test_a_store_in_use_can_be_restored_from(db, published, data_dir, tmp_path):
    """What is only in its write-ahead log is restored too."""
    assert (data_dir / f"{DATABASE_FILE}-wal").stat().st_size > 0
    (tmp_path / "other").mkdir()
    code, out, _ = db("restore", data_dir / DATABASE_FILE, data_dir=tmp_path / "other")
    assert (code, out.split(" <- ")[0]) == (0, "1 tasks, 2 versions")
