"""What reaches the terminal: every text in every encoding, closed streams, readers that have gone."""

import io
import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest

from prompts_store.store import Store
from server.cli import main
from server.cli.output import printable
from server.cli.streams import announce
from server.settings import sqlite_url

TEXT = "naïve “你好” 😀"
TASKS = ("task", "list", "--fingerprint", "f" * 64, "--data-dir")


@pytest.fixture
def tasks(data_dir):
    """The command that lists a database's tasks, one of which is described in words that no code page holds."""
    with Store.open(sqlite_url(data_dir)) as store:
        store.create_task("f" * 64, "mood", description=TEXT)
    return [*TASKS, str(data_dir)]


@pytest.fixture
def terminal(monkeypatch):
    """Put streams of an encoding in the place of the standard ones; what was written to them."""

    def use(encoding):
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)

        def written(name):
            streams[name].flush()
            return streams[name].buffer.getvalue().decode(encoding)

        return written

    return use


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", TEXT),
        ("latin-1", r"naïve \u201c\u4f60\u597d\u201d \U0001f600"),
        ("ascii", r"na\xefve \u201c\u4f60\u597d\u201d \U0001f600"),
    ],
)
def test_every_text_is_readable_in_every_encoding(terminal, tasks, encoding, shown):
    written = terminal(encoding)
    assert main(tasks) == 0
    assert shown in written("stdout")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_stays_json_in_every_encoding(terminal, tasks, encoding):
    written = terminal(encoding)
    assert main([*tasks, "--json"]) == 0
    assert json.loads(written("stdout"))[0]["description"] == TEXT


def test_help_and_errors_are_readable_in_ascii(terminal, tmp_path):
    written = terminal("ascii")
    assert main(["task", "publish-ensemble", "--help"]) == 0
    assert r"VERSION\u2026" in written("stdout")
    assert main(["task", "publish", str(tmp_path / os.fsdecode("é\udcff".encode(errors="surrogateescape")))]) == 1
    assert r"\xe9" in written("stderr")


class Gone(io.TextIOWrapper):
    """A pipe whose reader has gone."""

    def __init__(self):
        reader, writer = os.pipe()
        os.close(reader)
        super().__init__(os.fdopen(writer, "wb"), "utf-8", line_buffering=True)


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_reader_that_has_gone_ends_a_command_without_a_word(monkeypatch, capfd, tasks, json):
    with Gone() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main([*tasks, *json]) == 1
    assert capfd.readouterr() == ("", "")


def test_a_reader_of_errors_that_has_gone_changes_nothing_else(monkeypatch, capfd):
    with Gone() as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["task", "publish", "/no/such/folder"]) == 1
    assert capfd.readouterr() == ("", "")


def test_an_announcement_without_a_reader_is_let_go(monkeypatch):
    """A server goes on when whatever read its welcome has ended."""
    with Gone() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        announce("ready")
        announce("still here")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize("json", [(), ("--json",)])
def test_output_that_cannot_be_written_is_said(monkeypatch, capsys, tasks, json):
    with suppress(OSError), open("/dev/full", "w") as stream:  # closing it fails, too
        monkeypatch.setattr(sys, "stdout", stream)
        assert main([*tasks, *json]) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), "No space left on device" in err) == (1, True)


def test_closed_streams_are_no_files_of_others():
    """Whatever is opened next would get their numbers, and a database would get what is printed."""
    script = "import os, sys; from server.cli.streams import prepare_streams; prepare_streams()\n"
    script += "print('out'); print('err', file=sys.stderr); assert sys.stdin.read() == ''\n"
    script += "sys.exit(os.open('/dev/null', os.O_RDONLY) < 3)"
    closed = 'exec "$0" -c "$1" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", closed, sys.executable, script], check=False).returncode == 0


@pytest.mark.parametrize("arguments", [["generate", "mood", "\udcff"], ["task", "list", "--api-key", "é"]])
def test_what_is_no_text_is_not_sent(softprompt, arguments):
    code, out, err = softprompt(*arguments, "--url", "http://127.0.0.1:1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Error" not in err


def test_input_that_is_no_text_is_refused(softprompt, monkeypatch):
    for errors in ("strict", "surrogateescape"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), "utf-8", errors))
        code, _, err = softprompt("generate", "mood", "-")
        assert (code, err) == (2, "softprompt: standard input is not UTF-8 text\n")


def test_what_drives_the_terminal_is_replaced_and_nothing_else():
    shown = "a\N{NO-BREAK SPACE}b\N{IDEOGRAPHIC SPACE}c \N{ZERO WIDTH JOINER}\t\n"
    assert printable(shown) == shown
    assert printable("\x1b[2J\x9b\r\x7f\ud800\N{RIGHT-TO-LEFT OVERRIDE}") == "\N{REPLACEMENT CHARACTER}[2J" + (
        "\N{REPLACEMENT CHARACTER}" * 5
    )


@pytest.mark.parametrize("columns", ["0", "1", "-3", "wide"])
def test_a_terminal_of_any_width_gets_a_table(softprompt, monkeypatch, tasks, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")  # taken for a terminal
    code, out, err = softprompt(*tasks)
    assert (code, err) == (0, "")
    assert out
