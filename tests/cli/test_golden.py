"""Every byte that the task commands print on standard output, on a database and on a server.

A golden file that is missing is written, and its test fails: look at it, then commit it.
"""

import re
from functools import partial
from pathlib import Path

import pytest

from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.cli.tasks.checkpoint_folder import read_publication
from tests.cli.test_against_server import url

__all__ = ["url"]

read = partial(read_publication, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)
GOLDEN = Path(__file__).parent / "golden"
TIMES = {
    "database": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"),
    "server": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"),
}
COMMANDS = (
    ("list",),
    ("list", "--json"),
    ("show", "mood"),
    ("promote", "mood", "2", "--reason", "better", "--json"),
    ("alias", "set", "mood", "canary", "1:90", "2:10", "--json"),
    ("alias", "set", "mood", "next", "2", "--shadow-of", "canary"),
    ("publish-ensemble", "mood", "2", "1", "--note", "both", "--json"),
    ("publish-ensemble", "mood", "2", "1"),
    ("show", "mood"),
    ("show", "mood", "--json"),
    ("rollback", "mood", "--json"),
    ("history", "mood"),
    ("history", "mood", "--json"),
    ("alias", "delete", "mood", "next"),
    ("history", "mood", "next", "--json"),
    ("import", "CHECKPOINTS", "--json"),
    ("export", "mood@1", "EXPORT"),
    ("export", "mood@3", "ENSEMBLE"),
    ("retire", "mood", "3"),
    ("delete", "mood", "--purge", "--yes"),
    ("delete", "other", "--purge", "--yes", "--json"),
    ("delete", "third", "--yes"),
)
MANIFEST = {"template": "Review: {input}", "labels": ["good", "bad"], "metrics": {"exact_match": 0.5}}


@pytest.mark.parametrize("kind", TIMES)
def test_what_is_printed_is_the_golden_text(kind, request, softprompt, backend, data_dir, write_checkpoint, tmp_path):
    """One life of some tasks; times are masked, each in the form that its backend prints."""
    place = ("--data-dir", data_dir) if kind == "database" else ("--url", request.getfixturevalue("url"))
    folders = {name: tmp_path / name.lower() for name in ("CHECKPOINTS", "EXPORT", "ENSEMBLE")}
    for number in (1, 2):
        backend.publish(read(write_checkpoint("mood", number, MANIFEST)))
    backend.publish(read(write_checkpoint("third", 3, {"description": "Of three."})))
    backend.publish(read(write_checkpoint("other", 4)))
    write_checkpoint("new", 5)
    transcript = ""
    for command in COMMANDS:
        if kind == "database" and command[0] == "import":
            continue  # this database's base model is no folder that could be read
        code, out, err = softprompt("task", *(folders.get(word, word) for word in command), *place)
        assert (code, err) == (0, ""), command
        transcript += f"$ softprompt task {' '.join(command)}\n{_masked(out, kind, tmp_path)}\n"
    for path in sorted((*folders["EXPORT"].rglob("*.json"), *folders["ENSEMBLE"].rglob("*.json"))):
        transcript += f"{path.relative_to(tmp_path)}\n{path.read_text()}\n"
    golden = GOLDEN / f"tasks_on_{kind}.txt"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(transcript)
        pytest.fail(f"{golden} is new: look at it, then commit it")
    assert transcript == golden.read_text()


def _masked(text, kind, folder):
    text = TIMES[kind].sub("TIME", text.replace(str(folder), "FOLDER"))
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?=  )", "CELL", text)
