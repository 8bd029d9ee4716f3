"""What a client does, as named functions, each with one line of JSON about what came of it.

This file runs in the clients' venv too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

PREFIX = "outcome: "
"""Begins the lines that are read; clients print lines of their own."""

URL = os.environ.get("OPENAI_BASE_URL", "")
BASE = "softprompt-demo"
MODEL = "sentiment"
VECTORS, TOPIC, TAGGER = "vectors", "topic", "names"
LABELS = ["LABEL_0", "LABEL_1", "LABEL_2"]
TURNS = ("I loved every minute of it", "a waste of money", "they lost my parcel")
ROWS = [{"prompt": f"order {number} is late", "completion": ("wait", "refund")[number % 2]} for number in range(24)]

_scenarios: list[tuple[str, str, Callable[[], None]]] = []


def scenario(column: str, variant: str = "") -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function under a column of the table, and under a name of its own where the column has several."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        _scenarios.append((column, variant, function))
        return function

    return register


def run() -> None:
    """Run what is registered, in its order. One that raises has failed; the others run all the same."""
    for column, variant, function in _scenarios:
        error = None
        try:
            function()
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}".strip()
            if isinstance(raised, AssertionError):
                error = f"{error} ({traceback.extract_tb(raised.__traceback__)[-1].line})"
        print(PREFIX + json.dumps({"column": column, "variant": variant, "error": error}), flush=True)


def jsonl(rows: list[dict[str, Any]] = ROWS) -> bytes:
    """A file of examples."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def check_answer(text: object) -> None:
    """The model said something; whether it is right is for the tests of the engine."""
    assert isinstance(text, str) and text.strip(), f"no answer but {text!r}"


def check_example(path: str) -> None:
    """An example of a support desk, as a newcomer runs it: two departments and two wishes."""
    environment = os.environ | {"SOFTPROMPT_URL": URL.removesuffix("/v1")}
    ended = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-1000:]
    found = [line.split()[:2] for line in ended.stdout.splitlines()]
    assert found == [["logistics", "track"], ["helpdesk", "login"]], found


def check_refused(call: Callable[[], object], error_class: type[Exception], name: str) -> None:
    """A call asks for what the server does not do: the error names it."""
    try:
        call()
    except error_class as error:
        param = getattr(error, "param", None)
        assert param and name in param.replace("[", ".").split("."), f"{name!r} is not named: {param!r}: {error}"
    else:
        raise AssertionError(f"{name!r} was accepted and not done")
