"""Tasks and versions: what publish makes, what retire and delete leave, what a read proves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from prompts_store.checkpoint_records import PeftType
from prompts_store.errors import (
    AliasNotFound,
    CheckpointTooLarge,
    InvalidManifest,
    InvalidName,
    InvalidTaskIndex,
    NameReserved,
    StoreCorrupt,
    StoreUnavailable,
    TaskExists,
    TaskNotFound,
    ValueTooLarge,
    VersionInUse,
    VersionNotFound,
)
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import ChangeKind, Published
from prompts_store.sql.tables import tasks
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint, task_index

F = BASE.fingerprint


def publish(store: Store, seed: int = 0, task: str = "t", *, promote: bool = False, note: str = "") -> Published:
    return store.publish(task, checkpoint(seed=seed), Manifest(note=note), promote=promote, actor="ann")


def kinds(store: Store, since: int = 0) -> list[ChangeKind]:
    return [change.kind for change in store.changes_since(since, 100)]


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_is_created_once(store: Store) -> None:
    made = store.create_task(F, "t", "what it does")
    assert (made.name, made.description, made.latest_version, made.production_version) == (
        "t",
        "what it does",
        None,
        None,
    )
    assert abs(made.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert store.get_task(F, "t") == made
    with pytest.raises(TaskExists):
        store.create_task(F, "t")


def test_tasks_of_two_base_models_do_not_meet(store: Store) -> None:
    store.create_task(F, "t")
    with pytest.raises(TaskNotFound):
        store.get_task("other", "t")
    store.create_task("other", "t")
    assert store.bases() == tuple(sorted([F, "other"]))
    store.delete_task("other", "t")
    assert store.bases() == (F,)


def test_tasks_are_listed_by_name_page_by_page(store: Store) -> None:
    for name in ("c", "a", "b", "e", "d"):
        store.create_task(F, name)
    store.delete_task(F, "b")
    names = [task.name for task in store.list_tasks(F, limit=2)]
    assert names == ["a", "c"]
    assert [task.name for task in store.list_tasks(F, after="c")] == ["d", "e"]


@pytest.mark.parametrize("description", ["x" * 4097, "\0", "\ud800"])
def test_a_description_that_no_database_holds_is_refused(store: Store, description: str) -> None:
    with pytest.raises(InvalidManifest):
        store.create_task(F, "t", description)


@pytest.mark.parametrize("name", ["", "A", "a/b", "\ud800", "a" * 65])
def test_a_bad_name_never_reaches_the_database(store: Store, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.create_task(F, name),
        lambda: store.get_task(F, name),
        lambda: store.delete_task(F, name),
        lambda: store.list_tasks(F, after=name),
        lambda: publish(store, task=name),
        lambda: store.list_versions(F, name),
        lambda: store.get_version(F, name, 1),
        lambda: store.load_content(F, name, 1),
        lambda: store.retire_version(F, name, 1),
        lambda: store.list_aliases(F, name),
        lambda: store.get_alias(F, "t", name),
        lambda: store.put_alias(F, "t", name, 1, if_match=None, must_not_exist=False),
        lambda: store.delete_alias(F, "t", name, if_match=None),
        lambda: store.alias_history(F, "t", name),
        lambda: store.rollback(F, "t", name),
        lambda: store.resolve(F, TaskReference(name, 1, None)),
        lambda: store.resolve(F, TaskReference("t", None, name)),
    ]
    for call in calls:
        with pytest.raises(InvalidName):
            call()


# --- publish ----------------------------------------------------------------------------------------------------------


def test_the_first_version_makes_its_task_and_is_production(store: Store) -> None:
    published = store.publish("t", checkpoint(), Manifest(), description="made by publish", actor="ann")
    assert (published.version.version, published.created, published.promoted) == (1, True, True)
    assert published.version.created_by == "ann"
    task = store.get_task(F, "t")
    assert (task.description, task.latest_version, task.production_version) == ("made by publish", 1, 1)
    assert kinds(store) == [ChangeKind.TASK_CREATED, ChangeKind.VERSION_PUBLISHED, ChangeKind.ALIAS_MOVED]


def test_a_later_version_is_production_only_if_promoted(store: Store) -> None:
    publish(store, 1)
    assert not publish(store, 2).promoted
    assert publish(store, 3, promote=True).promoted
    assert store.get_alias(F, "t", "production").version == 3


def test_the_same_content_is_the_same_version(store: Store) -> None:
    first = publish(store, 1, note="first")
    publish(store, 2)
    before = store.revision()
    again = publish(store, 1, note="second")
    assert (again.version, again.created, again.promoted) == (first.version, False, True)
    assert store.revision() == before


def test_the_same_content_is_promoted_if_asked(store: Store) -> None:
    publish(store, 1)
    publish(store, 2, promote=True)
    again = publish(store, 1, promote=True)
    assert (again.version.version, again.created, again.promoted) == (1, False, True)
    assert store.get_alias(F, "t", "production").version == 1


def test_retired_content_makes_a_new_number(store: Store) -> None:
    first = publish(store, 1).version
    publish(store, 2, promote=True)
    store.retire_version(F, "t", 1)
    again = publish(store, 1)
    assert (again.version.version, again.version.digest, again.created) == (3, first.digest, True)


def test_another_template_is_another_version_of_the_same_prefix(store: Store) -> None:
    first = store.publish("t", checkpoint(), Manifest(template="{input}")).version
    second = store.publish("t", checkpoint(), Manifest(template="{input}?")).version
    assert first.digest != second.digest
    assert first.prefix_digest == second.prefix_digest


@pytest.mark.parametrize("peft_type", PeftType)
def test_content_is_read_back_as_it_was_written(store: Store, peft_type: PeftType) -> None:
    index = task_index(peft_type)
    manifest = Manifest(template="a {input} b", labels=("x", "y"), defaults={"temperature": 0.1}, task_index=index)
    written = checkpoint(peft_type)
    version = store.publish("t", written, manifest).version
    content = store.load_content(F, "t", 1)
    assert content.record == version == store.get_version(F, "t", 1)
    assert content.record.manifest == manifest
    assert content.checkpoint.config == written.config
    for stored, original in zip(content.checkpoint.tensors, written.tensors, strict=True):
        assert (stored.name, stored.original_dtype) == (original.name, original.original_dtype)
        assert np.array_equal(stored.values, original.values)
    assert content.prefix.digest == version.prefix_digest
    assert content.prefix.values.flags.writeable


def test_a_publish_of_wrong_content_leaves_nothing(store: Store) -> None:
    multitask = checkpoint(PeftType.MULTITASK_PROMPT_TUNING)
    with pytest.raises(InvalidTaskIndex):
        store.publish("t", multitask, Manifest())
    with pytest.raises(InvalidManifest):
        store.publish("t", checkpoint(), Manifest(template="no mark"))
    with pytest.raises(NameReserved):
        store.publish("tiny", checkpoint(), Manifest())
    assert store.list_tasks(F) == ()
    assert store.revision() == 0


def test_the_size_limit_is_the_stores(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "small.db"), max_tensor_bytes=95) as store, pytest.raises(CheckpointTooLarge):
        store.publish("t", checkpoint(), Manifest())


def test_the_base_that_the_checkpoint_names_is_recorded(store: Store) -> None:
    for name, mismatch in [("", False), ("tiny", False), ("other/base", True)]:
        named = checkpoint(seed=len(name), base_model_name_or_path=name)
        version = store.publish("t", named, Manifest()).version
        assert (version.base_name, version.base_mismatch) == (name, mismatch)


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_are_listed_newest_first_page_by_page(store: Store) -> None:
    for seed in range(5):
        publish(store, seed)
    store.retire_version(F, "t", 4)
    assert [version.version for version in store.list_versions(F, "t", limit=2)] == [5, 3]
    assert [version.version for version in store.list_versions(F, "t", before=3)] == [2, 1]
    assert [version.version for version in store.list_versions(F, "t", include_retired=True)] == [5, 4, 3, 2, 1]
    assert store.list_versions(F, "t", before=2**80)


def test_a_version_in_use_is_not_retired(store: Store) -> None:
    publish(store)
    with pytest.raises(VersionInUse, match="production"):
        store.retire_version(F, "t", 1)
    assert store.get_version(F, "t", 1).retired_at is None


def test_a_retired_version_is_gone_but_not_lost(store: Store) -> None:
    publish(store, 1)
    publish(store, 2)
    retired = store.retire_version(F, "t", 2, actor="bob")
    assert retired.retired_at is not None
    for call in (
        lambda: store.get_version(F, "t", 2),
        lambda: store.load_content(F, "t", 2),
        lambda: store.retire_version(F, "t", 2),
        lambda: store.resolve(F, TaskReference.parse("t@2")),
        lambda: store.put_alias(F, "t", "canary", 2, if_match=None, must_not_exist=True),
    ):
        with pytest.raises(VersionNotFound):
            call()
    assert store.get_version(F, "t", 2, include_retired=True) == retired
    assert store.load_content(F, "t", 2, include_retired=True).record == retired


@pytest.mark.parametrize("number", [0, -1, 2, 2**31, pytest.param(10**5000, id="huge")])
def test_a_number_that_is_no_version_is_not_found(store: Store, number: int) -> None:
    publish(store)
    with pytest.raises(VersionNotFound):
        store.get_version(F, "t", number)
    with pytest.raises(VersionNotFound):
        store.put_alias(F, "t", "canary", number, if_match=None, must_not_exist=True)


def test_a_reference_is_resolved(store: Store) -> None:
    publish(store, 1)
    publish(store, 2)
    store.put_alias(F, "t", "canary", 2, if_match=None, must_not_exist=True)
    for text, number in [("t", 1), ("t@production", 1), ("t@canary", 2), ("t@2", 2)]:
        assert store.resolve(F, TaskReference.parse(text)).version == number
    with pytest.raises(AliasNotFound):
        store.resolve(F, TaskReference.parse("t@other"))
    with pytest.raises(VersionNotFound):
        store.resolve(F, TaskReference.parse("t@3"))
    for text in ("other", "other@1", "other@canary"):
        with pytest.raises(TaskNotFound):
            store.resolve(F, TaskReference.parse(text))


def test_a_deleted_task_is_gone_and_its_numbers_go_on(store: Store) -> None:
    publish(store, 1)
    publish(store, 2)
    store.delete_task(F, "t")
    for text in ("t", "t@1"):
        with pytest.raises(TaskNotFound):
            store.resolve(F, TaskReference.parse(text))
    with pytest.raises(TaskNotFound):
        store.delete_task(F, "t")
    assert store.load_content(F, "t", 1, include_retired=True).record.version == 1

    returned = publish(store, 1)
    assert (returned.version.version, returned.created, returned.promoted) == (3, True, True)
    assert [version.version for version in store.list_versions(F, "t")] == [3]
    with pytest.raises(VersionNotFound):
        store.get_version(F, "t", 1)


# --- changes ----------------------------------------------------------------------------------------------------------


def test_every_change_is_a_row_in_order(store: Store) -> None:
    assert store.revision() == 0
    store.create_task(F, "t")
    publish(store, 1)
    publish(store, 2)
    store.put_alias(F, "t", "canary", 2, if_match=None, must_not_exist=True)
    store.delete_alias(F, "t", "canary", if_match=None)
    store.retire_version(F, "t", 2)
    store.delete_task(F, "t")
    seen = [(change.kind.value, change.task, change.version, change.alias) for change in store.changes_since(0, 100)]
    assert seen == [
        ("task_created", "t", None, None),
        ("version_published", "t", 1, None),
        ("alias_moved", "t", 1, "production"),
        ("version_published", "t", 2, None),
        ("alias_moved", "t", 2, "canary"),
        ("alias_deleted", "t", None, "canary"),
        ("version_retired", "t", 2, None),
        ("task_deleted", "t", None, None),
    ]
    assert store.revision() == store.changes_since(0, 100)[-1].id
    assert kinds(store, since=store.revision() - 1) == [ChangeKind.TASK_DELETED]
    assert [change.id for change in store.changes_since(2, 2)] == [3, 4]


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tensors SET data = zeroblob(length(data))",
        "UPDATE tensors SET data = substr(data, 1, 4)",
        "UPDATE version_tensors SET original_dtype = 'F16'",
        "UPDATE version_tensors SET shape = '[8,3]'",
        "UPDATE version_tensors SET name = 'other'",
        "DELETE FROM version_tensors",
        "UPDATE versions SET manifest = replace(manifest, '{input}', 'x{input}')",
        "UPDATE versions SET prefix_digest = digest",
        "UPDATE versions SET peft_type = 'PREFIX_TUNING'",
    ],
)
def test_damage_in_the_database_is_found_on_reading(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store.db"
    with Store.open(str(path)) as store:
        store.publish("t", checkpoint(), Manifest(template="{input}"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    with Store.open(str(path)) as store, pytest.raises(StoreCorrupt):
        store.load_content(F, "t", 1)


def test_a_database_that_fails_is_unavailable_with_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(str(path)) as store:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE changes")
        for call in (store.revision, lambda: store.create_task(F, "t")):
            with pytest.raises(StoreUnavailable) as failed:
                call()
            assert failed.value.__cause__ is not None
            assert "changes" not in str(failed.value)
        assert store.list_tasks(F) == (), "the failed transaction left nothing behind"


def test_a_value_over_the_database_s_limit_is_not_called_an_outage(store: Store) -> None:
    """Trying again would not help; on SQLite a value has at most a billion bytes."""
    statements = {"sqlite": "SELECT zeroblob(1000000001)", "postgresql": "SELECT 99999999999::integer"}
    with store.database.read() as connection:
        dialect = connection.dialect.name
    with pytest.raises(ValueTooLarge), store.database.read() as connection:
        connection.exec_driver_sql(statements[dialect]).all()
    with pytest.raises(ValueTooLarge), store.database.read() as connection:
        connection.execute(select(tasks.c.id).where(tasks.c.id == 2**70)).all()
    assert store.revision() == 0
