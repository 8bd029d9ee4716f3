"""The reference is what the code says now, and no page names a command that does not exist."""

from __future__ import annotations

import re

import pytest

from docs.reference.__main__ import FOLDER, PAGES
from docs.reference.command_line_page import commands
from server.cli.serving.serve_options import option_name, variable_name
from server.settings import ServeSettings
from tests.docs.snippets import ROOT, pages

_CODE = re.compile(r"`(softprompt [^`\n]+)`|^(softprompt .+)$", re.MULTILINE)
_MAKE = re.compile(r"`make ([a-z-]+)|^make ([a-z-]+)", re.MULTILINE)
KNOWN = {
    words: {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    for words, command in commands()
}
RECORDS = ("CHANGELOG.md", "docs/decisions/", "docs/experiments.md")  # they tell what was
FLAGS = {"--help", "--version"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_fresh(name):
    """`make reference` would write the committed text."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_setting_is_described_as_the_help_does():
    """The table is the settings' own words; so are the rows that the README repeats."""
    page = (FOLDER / "settings.md").read_text(encoding="utf-8")
    for name, field in ServeSettings.model_fields.items():
        assert f"| `{option_name(name)}`<br>`{variable_name(name)}` |" in page
        assert f"| {field.description}" in page
    rows = re.findall(r"^\| `--.*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    of_settings = {
        f"| `{option_name(name)}` | `{variable_name(name)}` | {field.description} |"
        for name, field in ServeSettings.model_fields.items()
    }
    assert len(rows) == 5
    assert set(rows) <= of_settings


@pytest.mark.parametrize("page", [page for page in pages() if not page.startswith(RECORDS)])
def test_a_page_names_commands_that_exist(page):
    """Every `softprompt …` with its options, and every target of `make`, in the text and in code blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _CODE.findall(text):
        words = re.split(r"\s#|\s\||[`;)]", "".join(found))[0].split()
        assert _unknown(words) == set(), " ".join(words)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"".join(found) for found in _MAKE.findall(text)} <= targets | {""}


def _unknown(words: list[str]) -> set[str]:
    """The command, if there is none of these words, and options that it does not have."""
    options = {re.split(r"[=\[]", word)[0] for word in words if word.startswith("--")} - FLAGS
    names = [name for name in KNOWN if words[: len(name.split())] == name.split()]
    if not names:  # a group such as `softprompt task …`, or the command alone
        is_group = any(name.split()[: len(_leading(words))] == _leading(words) for name in KNOWN)
        return set() if is_group and not options else set(words)
    return options - KNOWN[max(names, key=len)]


def _leading(words: list[str]) -> list[str]:
    """The words before the first that is no name."""
    names = [re.fullmatch(r"[a-z][a-z-]*", word) is not None for word in words]
    return words[: names.index(False)] if False in names else words
