"""Aliases: compare and swap, history, rollback."""

from __future__ import annotations

import pytest

from prompts_store.errors import AliasNotFound, NoPreviousVersion, PreconditionFailed, TaskNotFound, VersionNotFound
from prompts_store.records import AliasRecord, Manifest
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint


@pytest.fixture
def store(store: Store) -> Store:
    """A task with four versions; `production` is version 1."""
    for seed in range(4):
        store.publish(BASE, "t", checkpoint(seed=seed), Manifest(), actor="ann")
    return store


def move(store: Store, version: int, alias: str = "production", if_match: str | None = None) -> AliasRecord:
    return store.put_alias(F, "t", alias, version, if_match=if_match, must_not_exist=False, actor="bob")


def test_an_alias_is_created_moved_and_deleted(store: Store) -> None:
    made = store.put_alias(F, "t", "canary", 2, if_match=None, must_not_exist=True, actor="bob")
    assert (made.alias, made.version, made.updated_by) == ("canary", 2, "bob")
    assert store.get_alias(F, "t", "canary") == made
    moved = move(store, 3, "canary", if_match=made.etag)
    assert moved.etag != made.etag
    assert [alias.alias for alias in store.list_aliases(F, "t")] == ["canary", "production"]
    store.delete_alias(F, "t", "canary", if_match=moved.etag)
    with pytest.raises(AliasNotFound):
        store.get_alias(F, "t", "canary")


def test_a_stale_etag_moves_nothing(store: Store) -> None:
    stale = store.get_alias(F, "t", "production")
    current = move(store, 2)
    with pytest.raises(PreconditionFailed):
        move(store, 3, if_match=stale.etag)
    with pytest.raises(PreconditionFailed):
        store.delete_alias(F, "t", "production", if_match=stale.etag)
    assert store.get_alias(F, "t", "production") == current


def test_every_accepted_move_gives_a_new_etag(store: Store) -> None:
    """Two writers with one etag and one target: only the first is accepted."""
    etag = store.get_alias(F, "t", "production").etag
    move(store, 1, if_match=etag)
    with pytest.raises(PreconditionFailed):
        move(store, 1, if_match=etag)


def test_an_etag_does_not_come_back_with_the_alias(store: Store) -> None:
    first = move(store, 2, "canary")
    store.delete_alias(F, "t", "canary", if_match=None)
    assert move(store, 2, "canary").etag != first.etag


def test_preconditions_on_existence(store: Store) -> None:
    with pytest.raises(PreconditionFailed):
        store.put_alias(F, "t", "production", 2, if_match=None, must_not_exist=True)
    for etag in ("1", "*"):
        with pytest.raises(PreconditionFailed):
            move(store, 2, "canary", if_match=etag)
    assert move(store, 2, if_match="*").version == 2


def test_what_does_not_exist_is_not_found(store: Store) -> None:
    with pytest.raises(TaskNotFound):
        store.put_alias(F, "other", "canary", 1, if_match=None, must_not_exist=True)
    with pytest.raises(VersionNotFound):
        move(store, 5)
    with pytest.raises(AliasNotFound):
        store.delete_alias(F, "t", "canary", if_match=None)
    with pytest.raises(AliasNotFound):
        store.alias_history(F, "t", "canary")
    with pytest.raises(AliasNotFound):
        store.rollback(F, "t", "canary")


def test_history_says_who_when_from_and_to(store: Store) -> None:
    move(store, 2)
    store.delete_alias(F, "t", "production", if_match=None, actor="eve")
    history = store.alias_history(F, "t", "production")
    assert [(step.from_version, step.to_version, step.moved_by) for step in history] == [
        (2, None, "eve"),
        (1, 2, "bob"),
        (None, 1, "ann"),
    ]
    assert sorted((step.moved_at for step in history), reverse=True) == [step.moved_at for step in history]
    assert store.alias_history(F, "t", "production", limit=1) == history[:1]


def test_rollback_goes_back_step_by_step(store: Store) -> None:
    """A second rollback does not return to the version that the first one left."""
    for version in (2, 3):
        move(store, version)
    assert store.rollback(F, "t", actor="eve").version == 2
    assert store.rollback(F, "t").version == 1
    with pytest.raises(NoPreviousVersion):
        store.rollback(F, "t")
    assert [step.to_version for step in store.alias_history(F, "t", "production")] == [1, 2, 3, 2, 1]


def test_a_move_after_a_rollback_is_rolled_back_to_where_it_came_from(store: Store) -> None:
    for version in (2, 3):
        move(store, version)
    store.rollback(F, "t")
    move(store, 4)
    assert store.rollback(F, "t").version == 2
    assert store.rollback(F, "t").version == 1


def test_rollback_passes_over_retired_versions_and_repeated_moves(store: Store) -> None:
    for version in (2, 3, 3):
        move(store, version)
    store.retire_version(F, "t", 2)
    assert store.rollback(F, "t").version == 1


def test_rollback_reaches_past_a_deletion(store: Store) -> None:
    move(store, 2)
    store.delete_alias(F, "t", "production", if_match=None)
    move(store, 3)
    assert store.rollback(F, "t").version == 2


def test_deleting_the_task_ends_its_aliases(store: Store) -> None:
    store.delete_task(F, "t", actor="eve")
    store.create_task(F, "t")
    assert store.list_aliases(F, "t") == ()
    assert store.alias_history(F, "t", "production")[0].to_version is None
    store.publish(BASE, "t", checkpoint(seed=9), Manifest())
    with pytest.raises(NoPreviousVersion):
        store.rollback(F, "t")
