"""`softprompt key` and `softprompt audit`, on a database and on a server."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from prompts_store.keys import digest_of
from prompts_store.store import Store
from server.settings import sqlite_url
from tests.api.conftest import empty_database, engine, runs, services, store  # noqa: F401  (fixtures)
from tests.api.live_server import live_server


@pytest.fixture
def database(softprompt, data_dir):
    """Runs commands on a database."""
    Store.open(sqlite_url(data_dir)).close()

    def run(*arguments):
        return softprompt(*arguments, "--data-dir", data_dir)

    return run


def test_keys_are_made_listed_and_revoked_in_a_database(database, data_dir):
    """The first key comes from here, before anybody may ask a server for one."""
    code, out, err = database("key", "create", "root", "--scope", "admin")
    assert (code, err) == (0, "")
    with Store.open(sqlite_url(data_dir)) as opened:
        (record,) = opened.list_keys()
        assert record.sha256 == digest_of(out.strip())
        assert record.created_by == "cli"
    code, out, _ = database("key", "list")
    assert code == 0
    assert "root" in out and "live" in out
    assert database("key", "revoke", "root")[1] == "revoked root\n"
    assert "revoked" in database("key", "list")[1]


def test_every_bound_of_a_key_has_an_option(database):
    """And the list says them as JSON."""
    arguments = (
        "--scope", "infer", "--scope", "tasks:read", "--task", "a", "--task", "b", "--expires", "12h",
        "--best-priority", "-3", "--max-requests-per-minute", "60", "--max-tokens-per-minute", "1000",
        "--max-concurrent", "2", "--salt", "team",
    )  # fmt: skip
    created = json.loads(database("key", "create", "ci", *arguments, "--json")[1])
    (listed,) = json.loads(database("key", "list", "--json")[1])
    assert listed == {name: value for name, value in created.items() if name != "key"}
    assert (listed["scopes"], listed["tasks"], listed["salt"]) == (["infer", "tasks:read"], ["a", "b"], "team")
    assert (listed["best_priority"], listed["max_concurrent"]) == (-3, 2)
    lives_for = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11) < lives_for <= timedelta(hours=12)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scope", "root"),
        ("--scope", "infer", "--expires", "soon"),
        ("--scope", "infer", "--expires", "2999-01-01T00:00"),
        ("--scope", "admin", "--task", "a"),
        (),
    ],
    ids=str,
)
def test_what_no_key_can_be_is_one_line(database, arguments):
    """Said before anything is made."""
    code, out, err = database("key", "create", "ci", *arguments)
    assert code in (1, 2)
    assert (out, err.count("\n")) == ("", 1)
    assert json.loads(database("key", "list", "--json")[1]) == []


def test_the_audit_log_is_shown(database):
    """Newest first."""
    database("key", "create", "ci", "--scope", "infer")
    database("key", "revoke", "ci")
    entries = json.loads(database("audit", "--json")[1])
    assert [(entry["kind"], entry["key"], entry["changed_by"]) for entry in entries] == [
        ("key_revoked", "ci", "cli"),
        ("key_created", "ci", "cli"),
    ]
    assert "key_revoked" in database("audit", "--limit", "1")[1]


def test_the_same_on_a_server(softprompt, services):  # noqa: F811  (a fixture)
    """With an admin key, the same commands and the same views."""
    with live_server(services) as url:
        root = softprompt("key", "create", "root", "--scope", "admin", "--url", url)[1].strip()
        assert softprompt("key", "list", "--url", url)[0] == 1
        key = ("--url", url, "--api-key", root)
        for number in range(3):
            assert softprompt("key", "create", f"ci-{number}", "--scope", "infer", *key)[0] == 0
        assert softprompt("key", "revoke", "ci-1", *key)[1] == "revoked ci-1\n"
        listed = json.loads(softprompt("key", "list", "--json", *key)[1])
        assert [(entry["name"], entry["revoked_at"] is None) for entry in listed] == [
            ("ci-0", True), ("ci-1", False), ("ci-2", True), ("root", True),
        ]  # fmt: skip
        entries = json.loads(softprompt("audit", "--json", "--limit", "2", *key)[1])
        assert [(entry["kind"], entry["changed_by"]) for entry in entries] == [
            ("key_revoked", "key:root"),
            ("key_created", "key:root"),
        ]
