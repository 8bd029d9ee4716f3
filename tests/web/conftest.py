"""A browser, servers with the demo model, and what every test of the page holds it to."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import httpx
import pytest
import torch

from tests.programs import NoProgram, program, without_program
from tests.system.server_process import ROOT, ServerProcess
from tests.web.browser import Tab

ADMIN_KEY = "sp-admin-of-the-tests"
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
TIMEOUT_MS = 30_000

collect_ignore_glob = [] if importlib.util.find_spec("playwright") else ["test_*.py"]


def pytest_collection_modifyitems(items):
    """All tests here are of the page, and off by default."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests/web"):
            item.add_marker("page")


@pytest.fixture(scope="session", autouse=True)
def forked_servers():
    """Servers are forked, which saves their imports."""
    ServerProcess.is_forked = not torch.cuda.is_available()
    yield
    ServerProcess.is_forked = False


@pytest.fixture(scope="session")
def chromium():
    """The browser, once for all tests. Debian's package, since nothing is downloaded."""
    from playwright.sync_api import expect, sync_playwright

    try:
        path = program("chromium", "chromium")
    except NoProgram as reason:
        without_program(reason)
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of the demo model without keys, for the tests of one file: they use tasks of their own to change."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder / "log", data_dir=folder / "data") as process:
        assert process.url
        yield process


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory):
    """A server that wants a key; `ADMIN_KEY` has every scope."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "key").write_text(ADMIN_KEY)
    with ServerProcess(folder / "log", data_dir=folder / "data", admin_key_file=folder / "key") as process:
        assert process.url
        yield process


@pytest.fixture
def api(server) -> Iterator[httpx.Client]:
    """The same server's API, to prepare and to look what the page did."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def admin(guarded_server) -> Iterator[httpx.Client]:
    """The API of the server with keys, with the admin key."""
    with httpx.Client(base_url=guarded_server.url, headers={"authorization": f"Bearer {ADMIN_KEY}"}) as client:
        yield client


@pytest.fixture
def new_tab(chromium):
    """Opens tabs; each context is a browser profile of its own. At the end of the test none may have misbehaved."""
    contexts, tabs = [], []

    def make(url: str, hash: str = "", *, context=None, viewport=None, **options) -> Tab:
        if context is None:
            context = chromium.new_context(viewport=viewport or WIDE, reduced_motion="reduce", **options)
            context.set_default_timeout(TIMEOUT_MS)
            contexts.append(context)
        tab = Tab(context.new_page(), url)
        tabs.append(tab)
        tab.open(hash)
        return tab

    yield make
    faults = [fault for tab in tabs for fault in tab.faults]
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def tab(new_tab, server) -> Tab:
    """The page of the server without keys, in a wide window."""
    return new_tab(server.url)
