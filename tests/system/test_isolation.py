"""Two keys never share a block of text, unless they were given the same salt: by the real engine's cached tokens."""

from __future__ import annotations

import httpx
import pytest

from prompts_store.keys import KeyGrant
from prompts_store.store import Store
from server.settings import sqlite_url
from tests.system.live_server import checkpoint, live_server, publish, tiny_base

TEXT = "the quick brown fox jumps over the lazy dog and runs away from every hound of the village and all its cats"
INFER = frozenset({"infer"})
GRANTS = (
    KeyGrant("root", frozenset({"admin"})),
    KeyGrant("one", INFER),
    KeyGrant("other", INFER),
    KeyGrant("team-a", INFER, salt="team"),
    KeyGrant("team-b", INFER, salt="team"),
)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """The cached tokens of the text, asked with a key by name; virtual tokens are no text."""
    folder = tmp_path_factory.mktemp("isolation")
    base = tiny_base(folder / "base")
    data = folder / "data"
    data.mkdir()
    with Store.open(sqlite_url(data)) as store:
        headers = {grant.name: {"authorization": f"Bearer {store.create_key(grant).secret}"} for grant in GRANTS}
    with (
        live_server(base_model=str(base), data_dir=data, num_kv_blocks=400, device="cpu") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        client.headers = headers["root"]
        publish(client, "mood", checkpoint(seed=1))

        def cached_tokens(key: str, text: str, route: str = "/v1/completions") -> int:
            is_completion = route == "/v1/completions"
            body = {"prompt": text, "max_tokens": 1} if is_completion else {"input": text, "labels": ["a", "b"]}
            response = client.post(route, json={"model": "mood", **body}, headers=headers[key])
            assert response.status_code == 200, response.text
            details = response.json()["usage"]["prompt_tokens_details"]
            return int(details["cached_tokens"])

        yield cached_tokens


@pytest.mark.parametrize("route", ["/v1/completions", "/v1/classify"])
def test_a_key_finds_its_own_text_and_no_other_keys(ask, route):
    """A second time fast, the first time as slow as for anybody: nothing can be guessed from the time."""
    text = f"{route} {TEXT}"  # another beginning, so that the two cases share nothing
    assert ask("one", text, route) == 0
    own = ask("one", text, route)
    assert own > 0
    assert ask("other", text, route) == 0
    assert ask("other", text, route) == own


def test_keys_with_one_salt_share(ask):
    """Because somebody said so."""
    assert ask("team-a", TEXT) == 0
    assert ask("team-b", TEXT) > 0
