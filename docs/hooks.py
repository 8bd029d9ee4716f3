"""Hooks of the site (mkdocs.yml). The pages stay plain Markdown, which repositories on the web show as it is.

- A folder in the navigation becomes the list of its pages.
- A link to a file of the repository outside docs/ becomes its text: the site does not know where the repository is.
- After the build, no page may load anything from elsewhere.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)#]*)(#[^)]*)?\)")
_LOADS = {"link": "href", "image": "href", "use": "href"} | dict.fromkeys(("img", "script", "iframe", "source"), "src")
_LOADING_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
_CSS_URL = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


def on_config(config: Any) -> Any:
    """List the pages of each folder in the navigation."""
    config["nav"] = _with_folders(config["nav"], Path(config["docs_dir"]))
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Write a link to a file outside docs/ as the text that it has, with the path. Raises if there is no such file."""
    docs, folder = Path(config["docs_dir"]), posixpath.dirname(page.file.src_uri)

    def outside(link: re.Match[str]) -> str:
        text, target = link[1], posixpath.normpath(posixpath.join(folder, link[2]))
        if not target.startswith("../"):
            return link[0]
        path = target.removeprefix("../")
        if not (docs.parent / path).exists():
            raise FileNotFoundError(f"{page.file.src_uri}: {link[2]} is not in the repository")
        return f"{text} (`{path}`)" if path not in text else f"`{path}`"

    return _LINK.sub(outside, markdown)


def on_post_build(config: Any) -> None:
    """Refuse a site that loads anything from elsewhere."""
    if found := list(loaded_from_elsewhere(Path(config["site_dir"]))):
        raise RuntimeError(f"the site loads what is not in it: {', '.join(found)}")


def loaded_from_elsewhere(site: Path) -> Iterator[str]:
    """Yield every address that a page or a style sheet of the site loads from another host."""
    for path in sorted(site.rglob("*.html")):
        for address in _Loads(path.read_text(encoding="utf-8")).addresses:
            yield f"{path.relative_to(site)}: {address}"
    for path in sorted(site.rglob("*.css")):
        for address in _CSS_URL.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: {address}"


class _Loads(HTMLParser):
    """The addresses with a host that a page loads by itself. Links that a reader follows are none."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the address of an element that loads."""
        values = dict(attrs)
        if tag == "link" and not _LOADING_LINKS & set((values.get("rel") or "").split()):
            return
        address = values.get(_LOADS.get(tag, "")) or ""
        if re.match(r"(?:https?:)?//", address):
            self.addresses.append(address)
        self.addresses += _CSS_URL.findall(values.get("style") or "")


def _with_folders(nav: list[Any], docs: Path) -> list[Any]:
    """Return the navigation with every folder, which ends in "/", as the list of its pages."""
    return [{title: _entry(entry, docs) for title, entry in item.items()} for item in nav]


def _entry(entry: Any, docs: Path) -> Any:
    if isinstance(entry, list):
        return _with_folders(entry, docs)
    if not entry.endswith("/"):
        return entry
    pages = sorted(path for path in (docs / entry).glob("*.md") if not path.name.startswith("0000"))
    return [str(path.relative_to(docs)) for path in pages]
