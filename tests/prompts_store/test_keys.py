"""API keys in the store: what is kept of them, what is refused, and what the audit log says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from prompts_store import maintenance
from prompts_store.errors import InvalidKey, InvalidName, KeyExists, KeyNotFound
from prompts_store.keys import KeyGrant, KeyLimits, check_digest, digest_of, new_secret
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from tests.prompts_store.checkpoints import checkpoint

READER = KeyGrant("reader", frozenset({"infer", "tasks:read"}))


def test_a_key_comes_back_as_it_was_granted(store: Store) -> None:
    grant = KeyGrant(
        "ci",
        frozenset({"tasks:write", "infer"}),
        tasks=("date-iso", "sentiment"),
        expires_at=datetime.now(UTC) + timedelta(days=1),
        best_priority=-5,
        limits=KeyLimits(60, 10_000, 4),
        salt="team",
    )
    created = store.create_key(grant, actor="ann")
    assert created.record.grant == grant
    assert store.list_keys() == (created.record,)
    assert store.key_table().keys == (created.record,)


def test_only_the_digest_of_a_key_is_kept(store: Store) -> None:
    created = store.create_key(READER)
    assert created.record.sha256 == digest_of(created.secret)
    with store.database.read() as connection:
        for row in connection.execute(text("SELECT * FROM keys")):
            assert not any(created.secret in str(value) for value in row)


def test_keys_are_256_random_bits() -> None:
    secrets = {new_secret() for _ in range(1_000)}
    assert len(secrets) == 1_000
    assert {len(secret) for secret in secrets} == {len("sp-") + 43}  # base64 of 32 bytes without padding


@pytest.mark.parametrize("name", ["", "\0", "A", "a/b"])
def test_what_is_no_name_does_not_go_near_sql(store: Store, name: str) -> None:
    """PostgreSQL takes no NUL character, and would fail on it."""
    with pytest.raises(InvalidKey):
        store.revoke_key(name)
    with pytest.raises(InvalidKey):
        store.list_keys(after=name)


def test_a_revoked_key_stays_in_the_list_and_its_name_is_taken(store: Store) -> None:
    store.create_key(READER, actor="ann")
    revoked = store.revoke_key("reader", actor="bob")
    assert revoked.revoked_by == "bob"
    assert store.revoke_key("reader", actor="eve") == revoked
    assert store.key_table().keys == ()
    assert store.key_table().ever_had_keys
    with pytest.raises(KeyExists):
        store.create_key(READER)
    with pytest.raises(KeyNotFound):
        store.revoke_key("nobody")


def test_a_store_without_keys_says_so(store: Store) -> None:
    assert not store.key_table().ever_had_keys


def test_an_expired_key_is_not_live(store: Store) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    record = store.create_key(replace(READER, expires_at=expires_at)).record
    assert record.is_live(expires_at - timedelta(seconds=1))
    assert not record.is_live(expires_at)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../etc"},
        {"name": "Upper"},
        {"scopes": frozenset()},
        {"scopes": frozenset({"infer", "root"})},
        {"scopes": frozenset({"public"})},
        {"tasks": ()},
        {"tasks": tuple(f"t{number}" for number in range(101))},
        {"tasks": ("a",), "scopes": frozenset({"admin"})},
        {"tasks": ("a",), "scopes": frozenset({"tune"})},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"best_priority": -101},
        {"limits": KeyLimits(max_concurrent=0)},
        {"limits": KeyLimits(max_tokens_per_minute=2**31)},
        {"salt": "two words"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_no_key_can_be_is_refused(store: Store, change: dict[str, object]) -> None:
    with pytest.raises(InvalidKey):
        store.create_key(replace(READER, **change))  # type: ignore[arg-type]
    assert store.list_keys() == ()


def test_a_task_that_cannot_exist_is_refused(store: Store) -> None:
    with pytest.raises(InvalidName):
        store.create_key(replace(READER, tasks=("a/b",)))


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "a" * 63 + "g", "a" * 64 + "\n", "' OR 1=1 --"])
def test_a_digest_is_checked_before_it_goes_near_sql(digest: str) -> None:
    with pytest.raises(InvalidKey):
        check_digest(digest)


def test_keys_are_listed_in_pages(store: Store) -> None:
    for number in range(5):
        store.create_key(replace(READER, name=f"key-{number}"))
    assert [key.name for key in store.list_keys(after="key-1", limit=2)] == ["key-2", "key-3"]


def test_the_audit_log_says_who_did_what_and_when(store: Store) -> None:
    before = datetime.now(UTC)
    store.publish("sentiment", checkpoint(), Manifest(), actor="key:ci")
    store.create_key(READER, actor="ann")
    store.revoke_key("reader", actor="bob")
    entries = store.audit()
    assert [(entry.kind, entry.task, entry.key, entry.changed_by) for entry in entries] == [
        ("key_revoked", "", "reader", "bob"),
        ("key_created", "", "reader", "ann"),
        ("alias_moved", "sentiment", None, "key:ci"),
        ("version_published", "sentiment", None, "key:ci"),
        ("task_created", "sentiment", None, "key:ci"),
    ]
    assert all(before <= entry.changed_at <= datetime.now(UTC) for entry in entries)
    assert store.audit(before=entries[1].id, limit=1) == entries[2:3]


def test_keys_and_the_audit_log_survive_backup_and_restore(store: Store, tmp_path: Path) -> None:
    store.create_key(READER, actor="ann")
    store.create_key(replace(READER, name="old"), actor="ann")
    store.revoke_key("old", actor="bob")
    maintenance.backup(store, tmp_path / "backup.db")
    maintenance.restore(tmp_path / "backup.db", str(tmp_path / "restored.db"))
    with Store.open(str(tmp_path / "restored.db")) as restored:
        assert restored.list_keys() == store.list_keys()
        assert restored.audit() == store.audit()
