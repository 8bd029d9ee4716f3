"""Ensembles in the store: what may be one, what it keeps alive, and what identifies it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from prompts_store import maintenance
from prompts_store.checkpoint_records import PeftType
from prompts_store.errors import (
    InvalidManifest,
    InvalidMembers,
    NoCheckpoint,
    TaskNotFound,
    VersionInUse,
    VersionNotFound,
)
from prompts_store.limits import MAX_MEMBERS
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import VersionRecord
from prompts_store.sql.tables import versions
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint
SHARED = Manifest(template="{input} ->", labels=("good", "bad"), stop=("\n",), defaults={"temperature": 0.0})


def add(store: Store, seed: int, manifest: Manifest = SHARED, task: str = "t") -> int:
    return store.publish(task, checkpoint(seed=seed), manifest).version.version


@pytest.fixture
def three(store: Store) -> Store:
    """Three versions of one task; the first is production."""
    for seed in range(3):
        add(store, seed)
    return store


def test_an_ensemble_is_a_version_with_what_its_members_share(three: Store) -> None:
    """Its own are the number, the members and the manifest."""
    published = three.publish_ensemble(F, "t", [3, 1, 2], Manifest(note="seeds"), actor="ann")
    record = three.get_version(F, "t", 4)
    assert published.version == record
    assert (published.created, published.promoted) == (True, False)
    assert [member.version for member in record.members] == [3, 1, 2]
    assert record.parts == record.members
    assert (record.is_ensemble, record.peft_type, record.prefix_digest) == (True, None, None)
    assert record.num_virtual_tokens == 3
    assert record.manifest == replace(SHARED, note="seeds")
    assert record.created_by == "ann"


def test_a_version_of_its_own_answers_by_itself(three: Store) -> None:
    record = three.get_version(F, "t", 2)
    assert not record.is_ensemble
    assert [(part.version, part.prefix_digest) for part in record.parts] == [(2, record.prefix_digest)]


def test_the_digest_is_of_the_members_content_in_their_order(three: Store) -> None:
    """Not of their numbers: the same ensemble in another store has the same digest."""
    record = three.publish_ensemble(F, "t", [2, 1], Manifest()).version
    members = [three.get_version(F, "t", number).digest for number in (2, 1)]
    content = {
        "template": "{input} ->",
        "labels": ["good", "bad"],
        "stop": ["\n"],
        "add_special_tokens": None,
        "defaults": {"temperature": 0.0},
        "task_index": None,
    }
    header = json.dumps({"manifest": content, "members": members}, sort_keys=True, separators=(",", ":"))
    assert record.digest == hashlib.sha256(b"softprompt.ensemble.v1\0" + header.encode()).hexdigest()
    assert three.publish_ensemble(F, "t", [1, 2], Manifest()).version.digest != record.digest


def test_the_same_ensemble_again_is_the_version_there_is(three: Store) -> None:
    first = three.publish_ensemble(F, "t", [1, 2], Manifest())
    again = three.publish_ensemble(F, "t", [1, 2], Manifest(note="other"), promote=True)
    assert (again.created, again.promoted, again.version.version) == (False, True, first.version.version)
    assert three.resolve(F, TaskReference.parse("t")).version == 4


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ([], "2 to 8"),
        ([1], "2 to 8"),
        (list(range(1, MAX_MEMBERS + 2)), "2 to 8"),
        ([1, 1], "list each version once"),
        ([1, 0], "from 1 to"),
        ([1, 2**31], "from 1 to"),
        ([1, 9], "no live version 9"),
    ],
)
def test_what_is_no_list_of_versions_is_refused(three: Store, numbers: list[int], reason: str) -> None:
    with pytest.raises(InvalidMembers, match=reason):
        three.publish_ensemble(F, "t", numbers, Manifest())
    assert three.get_task(F, "t").latest_version == 3


def test_ensembles_of_a_task_that_is_not_there_or_anothers_are_refused(three: Store) -> None:
    add(three, 7, task="u")
    with pytest.raises(TaskNotFound):
        three.publish_ensemble(F, "v", [1, 2], Manifest())
    with pytest.raises(TaskNotFound):
        three.publish_ensemble("another base model", "t", [1, 2], Manifest())
    with pytest.raises(InvalidMembers, match="no live version 2"):
        three.publish_ensemble(F, "u", [1, 2], Manifest())


def test_a_retired_member_is_refused(three: Store) -> None:
    three.retire_version(F, "t", 2)
    with pytest.raises(InvalidMembers, match="no live version 2"):
        three.publish_ensemble(F, "t", [1, 2], Manifest())


def test_ensembles_do_not_nest(three: Store) -> None:
    three.publish_ensemble(F, "t", [1, 2], Manifest())
    with pytest.raises(InvalidMembers, match="an ensemble cannot be a member"):
        three.publish_ensemble(F, "t", [3, 4], Manifest())


@pytest.mark.parametrize(
    "other",
    [
        {"template": "Say {input}"},
        {"labels": ("bad", "good")},
        {"stop": ()},
        {"add_special_tokens": False},
        {"defaults": {}},
    ],
)
def test_members_that_differ_in_what_they_would_share_are_refused(three: Store, other: dict[str, object]) -> None:
    different = add(three, 5, replace(SHARED, **other))  # type: ignore[arg-type]
    with pytest.raises(InvalidMembers, match=next(iter(other))):
        three.publish_ensemble(F, "t", [1, different], Manifest())


def test_a_manifest_may_repeat_what_the_members_share_and_nothing_else(three: Store) -> None:
    assert three.publish_ensemble(F, "t", [1, 2], SHARED).created
    with pytest.raises(InvalidMembers, match="labels"):
        three.publish_ensemble(F, "t", [1, 3], replace(SHARED, labels=("other", "bad")))
    with pytest.raises(InvalidMembers, match="task_index"):
        three.publish_ensemble(F, "t", [1, 3], Manifest(task_index=1))
    with pytest.raises(InvalidManifest):
        three.publish_ensemble(F, "t", [1, 3], Manifest(parent_version=9))


def test_members_of_every_prompt_type_go_together(store: Store) -> None:
    """Each chooses its own task of a multitask checkpoint; the ensemble chooses none."""
    for seed, peft_type in enumerate(PeftType):
        index = 1 if peft_type is PeftType.MULTITASK_PROMPT_TUNING else None
        store.publish("t", checkpoint(peft_type, seed), Manifest(task_index=index))
    record = store.publish_ensemble(F, "t", range(1, len(PeftType) + 1), Manifest()).version
    assert record.manifest.task_index is None
    assert maintenance.verify(store).is_clean


def test_an_ensemble_has_no_checkpoint(three: Store) -> None:
    three.publish_ensemble(F, "t", [1, 2], Manifest())
    with pytest.raises(NoCheckpoint):
        three.load_content(F, "t", 4)


def test_a_member_is_kept_while_its_ensemble_lives(three: Store) -> None:
    """Neither retired nor freed; once the ensemble is retired, both go."""
    three.publish_ensemble(F, "t", [2, 3], Manifest())
    with pytest.raises(VersionInUse, match="member of ensemble version 4"):
        three.retire_version(F, "t", 2)
    assert maintenance.gc(three, grace_s=0.0).num_versions == 0
    three.retire_version(F, "t", 4)
    three.retire_version(F, "t", 2)
    assert maintenance.gc(three, grace_s=0.0).num_tensors == 1
    with pytest.raises(VersionNotFound, match="freed"):
        three.load_content(F, "t", 2, include_retired=True)
    assert three.get_version(F, "t", 4, include_retired=True).is_ensemble
    assert maintenance.verify(three).is_clean


def test_garbage_collection_honours_the_list_of_its_own_accord(three: Store) -> None:
    """Even of a member that was retired past the store's rule."""
    three.publish_ensemble(F, "t", [2, 3], Manifest())
    now = three.get_version(F, "t", 1).created_at
    with three.database.write() as connection:
        connection.execute(update(versions).where(versions.c.number == 2).values(retired_at=now))
    assert maintenance.gc(three, grace_s=0.0).num_tensors == 0
    assert three.load_content(F, "t", 2, include_retired=True).record.version == 2
    assert maintenance.verify(three).problems == ('Version 4 of task "t" lists version 2, which is not live.',)


@pytest.mark.parametrize("purge", [False, True])
def test_a_task_goes_with_its_ensembles(three: Store, purge: bool) -> None:
    three.publish_ensemble(F, "t", [1, 2], Manifest(), promote=True)
    if purge:
        assert three.purge_task(F, "t").num_versions == 4
    else:
        three.delete_task(F, "t")
        assert maintenance.gc(three, grace_s=0.0).num_tensors == 3
    assert maintenance.verify(three).is_clean
    assert add(three, 9) == 5


def test_an_ensemble_comes_back_from_a_backup(three: Store, tmp_path: Path) -> None:
    record = three.publish_ensemble(F, "t", [3, 1], Manifest(note="n"), promote=True).version
    maintenance.backup(three, tmp_path / "backup.db")
    maintenance.restore(tmp_path / "backup.db", str(tmp_path / "other.db"))
    with Store.open(str(tmp_path / "other.db")) as restored:
        assert restored.resolve(F, TaskReference.parse("t")) == record
        assert maintenance.verify(restored).is_clean


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [("digest", "0" * 64, "does not agree with its digest"), ("members", '[[1,"x","y"]]', "as it is")],
)
def test_verify_finds_a_spoiled_ensemble(three: Store, column: str, value: str, problem: str) -> None:
    three.publish_ensemble(F, "t", [1, 2], Manifest())
    with three.database.write() as connection:
        connection.execute(update(versions).where(versions.c.number == 4).values({column: value}))
    assert any(problem in one for one in maintenance.verify(three).problems)


def test_an_ensemble_can_be_promoted_and_rolled_back(three: Store) -> None:
    three.publish_ensemble(F, "t", [1, 2, 3], Manifest(), promote=True)
    resolved: VersionRecord = three.resolve(F, TaskReference.parse("t"))
    assert resolved.is_ensemble
    assert three.rollback(F, "t").version == 1
