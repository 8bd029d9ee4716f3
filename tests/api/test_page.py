"""The page's files over HTTP: types, headers, ETags, compression, and a server without the page."""

import gzip
import subprocess

import pytest

from server.api.responses.web_file import HEADERS
from server.web.files import PAGE, read_files
from tests.api.conftest import client_of, error_of
from tests.fakes.services import with_parts

PLAIN = {"accept-encoding": "identity"}


async def test_the_page_is_at_the_root(client):
    """It comes whole, without a key, as the file that is in the package."""
    response = await client.get("/", headers=PLAIN)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.content == (PAGE / "index.html").read_bytes()


@pytest.mark.parametrize("path", sorted(read_files(PAGE)))
async def test_every_file_has_its_type_and_the_headers(client, path):
    """A browser takes a module only with a type of scripts, since `nosniff` is set."""
    response = await client.get(f"/web/{path}", headers=PLAIN)
    assert (response.status_code, response.content) == (200, (PAGE / path).read_bytes())
    expected = {"html": "text/html", "css": "text/css", "svg": "image/svg+xml"}.get(path[-4:].split(".")[-1])
    assert response.headers["content-type"].split(";")[0] == (expected or "text/javascript")
    assert HEADERS.items() <= dict(response.headers).items()


def test_the_policy_is_strict():
    """No script or style inside a document, no frame around it, nothing from elsewhere."""
    policy = dict(part.split(" ", 1) for part in HEADERS["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"


async def test_a_file_is_sent_compressed_where_asked_for(client):
    """As a representation of its own, with an ETag of its own."""
    plain = await client.get("/web/main.js", headers=PLAIN)
    async with client.stream("GET", "/web/main.js", headers={"accept-encoding": "br, gzip"}) as compressed:
        content = b"".join([piece async for piece in compressed.aiter_raw()])
    assert compressed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(content) == plain.content
    assert compressed.headers["etag"] != plain.headers["etag"]


async def test_a_file_that_the_browser_has_is_not_sent_again(client):
    """304 has no body; another ETag gets the file."""
    first = await client.get("/", headers=PLAIN)
    again = await client.get("/", headers=PLAIN | {"if-none-match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await client.get("/", headers=PLAIN | {"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize("path", ["", "none.js", "../files.py", "..%2ffiles.py", "vendor", "vendor/README.md"])
async def test_other_files_are_not_found(client, path):
    """Nothing beside the page's files can be named."""
    response = await client.get(f"/web/{path}")
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


async def test_a_server_may_have_no_page(services):
    """`--no-page`: both routes answer as unknown routes do."""
    async with client_of(with_parts(services, page={})) as http:
        unknown = await http.get("/no-such-route")
        for path in ("/", "/web/main.js"):
            assert error_of(await http.get(path)) == error_of(unknown)


def test_nothing_is_rendered_as_html():
    """Our sources neither parse text as HTML nor run it."""
    pattern = "innerHTML|outerHTML|insertAdjacentHTML|document\\.write|eval\\(|new Function|srcdoc|javascript:"
    command = ["grep", "-rnEi", "--exclude-dir=vendor", pattern, str(PAGE)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == ""


def test_the_document_has_no_inline_script_or_style():
    """The policy would refuse it, and the page would miss it."""
    text = (PAGE / "index.html").read_text()
    assert "<style" not in text and "style=" not in text and " on" not in text.replace(" only", "")
    assert text.count("<script") == text.count("<script src=") + text.count('<script type="module" src=')
