"""The page's sources: libraries as they were published, and files of a size that can be read."""

from pathlib import Path

import pytest

from server.web.files import PAGE

MODULES = Path(__file__).parent / "node_modules"
MAX_LINES = 350
VENDORED = {
    "preact.mjs": "preact/dist/preact.mjs",
    "hooks.mjs": "preact/hooks/dist/hooks.mjs",
    "htm.mjs": "htm/dist/htm.mjs",
    "uPlot.mjs": "uplot/dist/uPlot.esm.js",
    "uPlot.css": "uplot/dist/uPlot.min.css",
    "LICENSE.preact": "preact/LICENSE",
    "LICENSE.htm": "htm/LICENSE",
    "LICENSE.uplot": "uplot/LICENSE",
}


@pytest.mark.parametrize("name", sorted(VENDORED))
def test_a_library_is_what_its_package_has(name):
    """But for the one import that a browser cannot resolve."""
    published = (MODULES / VENDORED[name]).read_text(encoding="utf-8")
    assert (PAGE / "vendor" / name).read_text(encoding="utf-8") == published.replace(
        'from"preact"', 'from"./preact.mjs"'
    )


def test_the_table_of_libraries_is_complete():
    """Each file is in `vendor/README.md` and compared above."""
    files = {path.name for path in (PAGE / "vendor").iterdir() if path.suffix != ".mts"} - {"README.md"}
    assert files == set(VENDORED)
    readme = (PAGE / "vendor/README.md").read_text()
    assert all(f"`{name}`" in readme for name in files)


def test_no_file_is_too_long():
    """A view that grows becomes a folder."""
    own = [path for path in PAGE.rglob("*.*") if path.is_file() and "vendor" not in path.parts]
    long = {str(path.relative_to(PAGE)): len(path.read_text().splitlines()) for path in own}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}
