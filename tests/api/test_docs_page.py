"""`/docs`: Swagger UI from the server's own files, under a strict policy."""

import gzip
import hashlib
import re

import pytest

from prompts_store.keys import KeyGrant
from server.api.access.key_ring import KeyRing
from server.api.responses.web_file import HEADERS
from server.web.files import API_PAGE, read_files
from tests.api.conftest import client_of, error_of
from tests.fakes.services import with_parts

VENDORED = API_PAGE / "swagger-ui"


async def test_the_page_and_its_files_need_no_key(services):
    """Nor does the document that they show."""
    services.store_access.store.create_key(KeyGrant("ci", frozenset({"infer"})))
    async with client_of(with_parts(services, keys=KeyRing(services.store_access.store, "admin-secret"))) as client:
        page = await client.get("/docs")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert (await client.get("/openapi.json")).status_code == 200
        for name in read_files(API_PAGE):
            assert (await client.get(f"/docs/{name}")).status_code == 200


async def test_the_page_loads_its_own_files_alone(client):
    """Each address is relative, so that a root path needs no setting, and is answered."""
    page = (await client.get("/docs")).text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(addresses) == 6
    for address in set(addresses) - {"data:,"}:
        assert re.fullmatch(r"[a-z./-]+", address) and not address.startswith("/")
        assert (await client.get(f"/{address}")).status_code == 200


async def test_the_policy_forbids_all_that_is_inline_or_foreign(client):
    """And the page has no inline script and no inline style that would need it."""
    response = await client.get("/docs")
    assert HEADERS.items() <= dict(response.headers).items()
    assert not re.search(r"<style|style=|<script>|\bon\w+=", response.text)
    assert "needs JavaScript" in response.text


@pytest.mark.parametrize("name", ["swagger-ui/swagger-ui-bundle.js", "docs.js"])
async def test_a_file_is_compressed_and_sent_once(client, name):
    """For a client that takes gzip; the ETag of each form spares the next transfer."""
    plain = await client.get(f"/docs/{name}", headers={"accept-encoding": "identity"})
    packed = await client.get(f"/docs/{name}", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == gzip.decompress(read_files(API_PAGE)[name].gzipped)
    assert packed.headers["etag"] != plain.headers["etag"]
    known = {"accept-encoding": "gzip", "if-none-match": packed.headers["etag"]}
    again = await client.get(f"/docs/{name}", headers=known)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["swagger-ui/README.md", "swagger-ui/LICENSE", "swagger-ui", "unknown.js", "..%2Ffiles.py"]
)
async def test_other_names_are_unknown_routes(client, name):
    """Only the files of the page are handed out."""
    response = await client.get(f"/docs/{name}")
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_the_foreign_files_are_those_of_the_package():
    """Unchanged, with the licence: their hashes are in the README beside them."""
    listed = dict(re.findall(r"^\| (\S+) \| ([0-9a-f]{64}) \|$", (VENDORED / "README.md").read_text(), re.MULTILINE))
    assert set(listed) == {path.name for path in VENDORED.iterdir()} - {"README.md"}
    for name, digest in listed.items():
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest
