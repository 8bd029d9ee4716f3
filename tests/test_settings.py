"""Settings: where values come from, what is refused, and what never shows."""

import pytest
from pydantic import ValidationError

from prompts_store.store import Store
from server.settings import ServeSettings, is_loopback


def test_an_argument_wins_over_the_environment_which_wins_over_the_default(monkeypatch):
    """The order that docs/reference/settings.md promises."""
    assert ServeSettings().port == 8000
    monkeypatch.setenv("SOFTPROMPT_PORT", "9000")
    assert ServeSettings().port == 9000
    assert ServeSettings(port=9001).port == 9001


def test_an_empty_variable_counts_as_unset(monkeypatch):
    """Compose files pass variables on that nobody set."""
    monkeypatch.setenv("SOFTPROMPT_ADMIN_KEY", "")
    monkeypatch.setenv("SOFTPROMPT_PORT", "")
    assert ServeSettings().admin_key is None
    assert ServeSettings().port == 8000


def test_base_names_are_separated_by_commas_in_the_environment(monkeypatch):
    """A list fits in one variable."""
    monkeypatch.setenv("SOFTPROMPT_BASE_NAMES", "org/model, other/model,")
    assert ServeSettings().base_names == ("org/model", "other/model")


@pytest.mark.parametrize(
    "settings",
    [
        {"no_such_setting": 1},
        {"port": 65536},
        {"port": "http"},
        {"dtype": "int8"},
        {"device": "tpu"},
        {"device": "cuda:one"},
        {"block_size": 0},
        {"max_prefix_share": 0},
        {"max_prefix_share": 1},
        {"kv_cache_gib": "inf"},
        {"num_kv_blocks": 100, "kv_cache_gib": 1.0},
        {"admin_key": "two words"},
        {"admin_key_file": "/no/such/file"},
        {"log_level": "loud"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(settings):
    """A wrong setting never reaches the engine."""
    with pytest.raises(ValidationError):
        ServeSettings(**settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_an_address_that_others_reach_needs_a_key(host):
    """Default-deny: an open server must be asked for by name."""
    assert not ServeSettings(host=host).may_be_open
    assert ServeSettings(host=host, insecure=True).may_be_open


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    """Trying the server out takes one command."""
    assert is_loopback(host)
    assert ServeSettings(host=host).may_be_open


def test_secrets_do_not_show():
    """Neither in a representation nor in an error."""
    settings = ServeSettings(admin_key="top-secret", database_url="postgresql://me:top-secret@db/prompts")
    assert "top-secret" not in repr(settings)
    assert "top-secret" not in str(settings)
    with pytest.raises(ValidationError) as refused:
        ServeSettings(admin_key="top-secret with a space")
    assert "top-secret" not in str(refused.value)


def test_the_database_is_in_the_data_folder_unless_named(tmp_path):
    """`--data-dir` alone decides where everything lies."""
    assert ServeSettings(data_dir=tmp_path).store_url == f"sqlite:///{tmp_path}/softprompt.db"
    assert ServeSettings(data_dir=tmp_path, database_url="sqlite:///x.db").store_url == "sqlite:///x.db"


@pytest.mark.parametrize("name", ["a?b=c", "a%20b", "a#b", "a@b:c", "ä ö", "file:x"])
def test_a_data_folder_may_have_any_name(name, tmp_path):
    """The database lies in it, and nothing beside it."""
    folder = tmp_path / name
    folder.mkdir()
    Store.open(ServeSettings(data_dir=folder).store_url).close()
    assert [file.name for file in folder.iterdir()] == ["softprompt.db"]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_admin_key_may_stand_in_a_file(tmp_path):
    """As container secrets come: with a line end, and never together with the variable."""
    file = tmp_path / "key"
    file.write_text("top-secret\n")
    assert ServeSettings(admin_key_file=file).read_admin_key() == "top-secret"
    assert ServeSettings(admin_key="other").read_admin_key() == "other"
    with pytest.raises(ValidationError):
        ServeSettings(admin_key="other", admin_key_file=file)
    file.write_text("two words")
    with pytest.raises(ValidationError) as refused:
        ServeSettings(admin_key_file=file)
    assert "two words" not in str(refused.value)
