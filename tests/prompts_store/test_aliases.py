"""Aliases: compare and swap, history, rollback, several targets, shadows."""

from __future__ import annotations

import pytest

from prompts_store.errors import (
    AliasNotFound,
    InvalidManifest,
    InvalidName,
    InvalidTargets,
    NoPreviousVersion,
    PreconditionFailed,
    ShadowExists,
    TaskNotFound,
    VersionInUse,
    VersionNotFound,
)
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import AliasRecord, AliasTarget
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint


@pytest.fixture
def store(store: Store) -> Store:
    """A task with four versions; `production` is version 1."""
    for seed in range(4):
        store.publish("t", checkpoint(seed=seed), Manifest(), actor="ann")
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
    store.publish("t", checkpoint(seed=9), Manifest())
    with pytest.raises(NoPreviousVersion):
        store.rollback(F, "t")


# --- several targets --------------------------------------------------------------------------------------------------

CANARY = (AliasTarget(1, 90), AliasTarget(2, 10))


def split(store: Store, *targets: AliasTarget, alias: str = "production", reason: str = "") -> AliasRecord:
    return store.put_alias(F, "t", alias, targets, if_match=None, must_not_exist=False, actor="bob", reason=reason)


def test_a_weighted_alias_answers_with_each_of_its_versions(store: Store) -> None:
    split(store, *reversed(CANARY))
    assert store.get_alias(F, "t", "production").targets == CANARY
    reference = TaskReference.parse("t")
    answers = {store.resolve(F, reference, sticky_key=bytes([key])).version for key in range(64)}
    assert answers == {1, 2}
    assert store.resolve(F, reference, sticky_key=b"x") == store.resolve(F, reference, sticky_key=b"x")
    resolution = store.resolve_all(F, reference)
    assert [version.version for version in resolution.versions] == [1, 2]
    assert resolution.alias == store.get_alias(F, "t", "production")


def test_of_several_versions_the_heaviest_stands_for_the_alias(store: Store) -> None:
    assert split(store, *CANARY).version == 1
    assert store.get_task(F, "t").production_version == 1
    assert split(store, AliasTarget(2, 5), AliasTarget(3, 5), AliasTarget(4, 1)).version == 2
    assert store.get_task(F, "t").production_version == store.list_tasks(F)[0].production_version == 2


def test_no_version_that_any_alias_targets_is_retired(store: Store) -> None:
    split(store, *CANARY)
    for version in (1, 2):
        with pytest.raises(VersionInUse, match="production"):
            store.retire_version(F, "t", version)
    split(store, AliasTarget(2))
    store.retire_version(F, "t", 1)


def test_rollback_restores_the_whole_list_of_targets(store: Store) -> None:
    split(store, *CANARY)
    split(store, AliasTarget(2))
    assert store.rollback(F, "t").targets == CANARY
    assert store.rollback(F, "t").targets == (AliasTarget(1),)


def test_rollback_passes_over_a_list_with_a_retired_version(store: Store) -> None:
    split(store, *CANARY)
    split(store, AliasTarget(3))
    store.retire_version(F, "t", 2)
    assert store.rollback(F, "t").targets == (AliasTarget(1),)


def test_history_says_all_targets_and_why(store: Store) -> None:
    split(store, *CANARY, reason="a tenth tries the new one")
    store.rollback(F, "t", actor="eve", reason="worse")
    newest, canary, first = store.alias_history(F, "t", "production")
    assert (newest.from_targets, newest.to_targets, newest.reason) == (CANARY, (AliasTarget(1),), "worse")
    assert (canary.to_targets, canary.moved_by, canary.reason) == (CANARY, "bob", "a tenth tries the new one")
    assert (first.from_targets, first.from_version, first.reason) == ((), None, "")
    assert store.alias_history(F, "t", "production", limit=1) == (newest,)


def test_a_promotion_ends_a_canary(store: Store) -> None:
    split(store, *CANARY)
    store.publish("t", checkpoint(seed=0), Manifest(), promote=True)
    assert store.get_alias(F, "t", "production").targets == (AliasTarget(1),)


def test_an_unknown_target_moves_nothing(store: Store) -> None:
    with pytest.raises(VersionNotFound):
        split(store, AliasTarget(1), AliasTarget(9))
    with pytest.raises(InvalidTargets):
        split(store)
    with pytest.raises(InvalidManifest):
        split(store, AliasTarget(2), reason="x" * 1025)
    assert store.get_alias(F, "t", "production").targets == (AliasTarget(1),)


# --- shadows ----------------------------------------------------------------------------------------------------------


def shadow(store: Store, of: str, version: int = 2, *, alias: str = "next") -> AliasRecord:
    return store.put_alias(F, "t", alias, version, if_match=None, must_not_exist=False, shadow_of=of)


def test_a_shadow_is_found_with_the_alias_that_it_belongs_to(store: Store) -> None:
    assert shadow(store, "production").shadow_of == "production"
    resolution = store.resolve_all(F, TaskReference.parse("t"))
    assert resolution.shadow == store.get_version(F, "t", 2)
    assert store.resolve_all(F, TaskReference.parse("t@next")).shadow is None
    assert store.resolve(F, TaskReference.parse("t@next")).version == 2, "it is an alias like any other"
    assert store.resolve_all(F, TaskReference.parse("t@1")).shadow is None


def test_a_shadow_stays_while_its_alias_moves(store: Store) -> None:
    shadow(store, "production")
    move(store, 3)
    found = store.resolve_all(F, TaskReference.parse("t")).shadow
    assert found is not None and found.version == 2
    with pytest.raises(VersionInUse, match="next"):
        store.retire_version(F, "t", 2)


def test_a_shadow_that_is_moved_without_a_word_of_it_is_one_no_longer(store: Store) -> None:
    shadow(store, "production")
    assert move(store, 3, "next").shadow_of is None
    assert store.resolve_all(F, TaskReference.parse("t")).shadow is None
    assert store.rollback(F, "t", "next").shadow_of == "production"


def test_an_alias_has_one_shadow(store: Store) -> None:
    shadow(store, "production")
    with pytest.raises(ShadowExists, match="next"):
        shadow(store, "production", alias="other")
    shadow(store, "canary", alias="other")
    shadow(store, "beta")
    shadow(store, "production", alias="other")
    with pytest.raises(ShadowExists):
        store.rollback(F, "t", "next")


def test_a_shadow_names_one_version_and_another_alias(store: Store) -> None:
    with pytest.raises(InvalidTargets):
        shadow(store, "next")
    with pytest.raises(InvalidName):
        shadow(store, "Production")
    with pytest.raises(InvalidTargets):
        store.put_alias(F, "t", "next", CANARY, if_match=None, must_not_exist=False, shadow_of="production")
