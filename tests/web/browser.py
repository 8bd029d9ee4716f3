"""A tab with the page in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.system.server_process import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page

AXE = ROOT / "tests/web/node_modules/axe-core/axe.min.js"
_SERIOUS = {"serious", "critical"}
_HACKED = "window.hacked = true"
MARKUP = f"<img src=x onerror='{_HACKED}'><b>bold</b>"
"""A text that would run and show, were it rendered as HTML."""


class Tab:
    """`page` is Playwright's; `faults` are exceptions, refusals of the policy, and requests to other servers."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        page.on("console", self._note)
        page.on("request", lambda request: self._check_origin(request.url))

    def open(self, hash: str = "") -> None:
        """Load the page at a place, such as `#/tasks`, and wait until it has a heading."""
        self.page.goto(f"{self.url}/{hash}")

    def go(self, hash: str) -> None:
        """Move to a place without loading the page again."""
        self.page.evaluate("hash => { location.hash = hash }", hash)

    def heading(self, name: str) -> Locator:
        """The heading of a view."""
        return self.page.get_by_role("heading", level=1, name=name)

    def button(self, name: str) -> Locator:
        """A button by its whole name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def check_accessible(self, *, ignored: Sequence[str] = ()) -> None:
        """Fail on what axe finds serious or critical."""
        self.page.evaluate(_axe_source())
        found: dict[str, Any] = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        serious = [
            f"{violation['id']}: {violation['help']}: {json.dumps([node['target'] for node in violation['nodes']])}"
            for violation in found["violations"]
            if violation["impact"] in _SERIOUS and violation["id"] not in ignored
        ]
        assert serious == []

    def check_no_markup(self) -> None:
        """Fail if a `MARKUP` text became elements."""
        assert self.page.locator("img[src=x], b").count() == 0
        assert self.page.evaluate("window.hacked === undefined")

    def check_no_overflow(self) -> None:
        """Fail if the page is wider than the window."""
        width = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], width

    def _note(self, message: ConsoleMessage) -> None:
        # A status of 400 and above is an error in the console, and is told on the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(f"console: {message.text}")

    def _check_origin(self, url: str) -> None:
        if not url.startswith((f"{self.url}/", "data:", "blob:")):
            self.faults.append(f"foreign request: {url}")


@cache
def _axe_source() -> str:
    return AXE.read_text(encoding="utf-8")
