"""The site: what its hooks do, and that it builds without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from docs import hooks
from tests.docs.snippets import ROOT
from tests.programs import NoProgram, without_program

MKDOCS = ROOT / ".docs" / "venv" / "bin" / "mkdocs"


@pytest.mark.parametrize(
    "html",
    [
        '<img src="https://example.org/x.png">',
        '<script src="//example.org/x.js"></script>',
        '<link rel="stylesheet" href="https://example.org/x.css">',
        '<link rel="preconnect" href="https://example.org">',
        '<p style="background: url(https://example.org/x.png)">',
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(html, tmp_path):
    """Whatever element loads it."""
    (tmp_path / "page.html").write_text(html)
    (found,) = hooks.loaded_from_elsewhere(tmp_path)
    assert "example.org" in found
    with pytest.raises(RuntimeError):
        hooks.on_post_build({"site_dir": tmp_path})


def test_a_link_and_a_file_of_the_site_are_not_loaded_from_elsewhere(tmp_path):
    """A reader decides whether to follow a link."""
    (tmp_path / "page.html").write_text('<a href="https://example.org">x</a><img src="x.png">')
    (tmp_path / "style.css").write_text("a { background: url(x.png) }")
    assert not list(hooks.loaded_from_elsewhere(tmp_path))
    (tmp_path / "style.css").write_text("@import 'https://example.org/x.css'; a { background: url('//example.org/y') }")
    assert len(list(hooks.loaded_from_elsewhere(tmp_path))) == 2


def test_a_link_out_of_the_documents_becomes_text():
    """The site does not know where the repository is; a file that does not exist fails the build."""
    config = {"docs_dir": str(ROOT / "docs")}
    page = SimpleNamespace(file=SimpleNamespace(src_uri="decisions/x.md"))
    text = "[a](../tuning.md#x) [demo](../../demo/README.md) [examples/verdict.jsonl](../../examples/verdict.jsonl)"
    assert hooks.on_page_markdown(text, page=page, config=config) == (
        "[a](../tuning.md#x) demo (`demo/README.md`) `examples/verdict.jsonl`"
    )
    with pytest.raises(FileNotFoundError):
        hooks.on_page_markdown("[a](../../no/such.md)", page=page, config=config)


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """The command of `make docs` in this folder."""
    if not MKDOCS.exists():
        without_program(NoProgram("mkdocs is not installed (make docs)"))
    recipe = re.search(r"mkdocs \$\(or \$\(ARGS\),(.*)\)", (ROOT / "Makefile").read_text())
    assert recipe is not None
    return subprocess.run(
        [MKDOCS, *recipe[1].split(), "--site-dir", site],
        cwd=folder, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    """Every page is in the navigation, and every link and anchor inside leads somewhere."""
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.html")}
    assert {str(path) for path in pages - built} == {"decisions/0000-template.html"}


def test_a_link_to_nowhere_fails_the_build(tmp_path):
    """An anchor that its page does not have is enough: the command counts warnings, and does not hide them."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for top in ("demo", "examples"):
        (tmp_path / top).symlink_to(ROOT / top)
    with (tmp_path / "docs/index.md").open("a") as page:
        page.write("\n[nowhere](tutorial.md#no-such-heading)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert "#no-such-heading" in done.stderr
