"""Schemathesis against a server process: every operation of the document, all phases.

The long form, in an hour: `python -m tests.security.schema_fuzz` (1,000 examples an operation), or of some operations.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.system.hostile_clients import serving

ADMIN_KEY = "schema-fuzz-admin-key"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
NUM_EXAMPLES = 1_000
STATEFUL = "stateful"
_EACH = "examples,coverage,fuzzing"
_MAIN = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis(sys.argv[1:]))"


def fuzz(url: str, num_examples: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end; the exit code is 0 where every answer was one that the document allows, and none a failure.

    A deadline of the client's own would be answered 503, so there is none but a long one.
    """
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder, "openapi.json")
        document.write_text(json.dumps(_without_events(httpx.get(f"{url}/openapi.json").json())))
        return _run(url, document, num_examples, options)


def _without_events(document: dict[str, Any]) -> dict[str, Any]:
    """The document without the schemas of events. Ours is that of an event's data, as generators of SDKs take it;
    Schemathesis compares it with the event, which has the data as a text."""
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                response.get("content", {}).get("text/event-stream", {}).pop("schema", None)
    return document


def _run(url: str, document: Path, num_examples: int, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-c", _MAIN, "run", str(document), "--url", url, "--checks", CHECKS,
        "--max-examples", str(num_examples), "--continue-on-failure", "--request-timeout", "60",
        "--suppress-health-check", "all", "--no-color",
        "-H", f"Authorization: Bearer {ADMIN_KEY}", "-H", "x-request-timeout-ms: 60000", *options,
    ]  # fmt: skip
    return subprocess.run(command, text=True, capture_output=True)


def main() -> int:
    """Run the long form, an operation after the other and then the stateful phase, and tell of each when it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=NUM_EXAMPLES)
    parser.add_argument("parts", nargs="*", help=f"operations by their ids, and `{STATEFUL}`; all if none is given")
    arguments = parser.parse_args()
    failed = []
    with serving(admin_key=ADMIN_KEY) as process:
        document = httpx.get(f"{process.url}/openapi.json").json()
        operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        for part in arguments.parts or [*operations, STATEFUL]:
            only = ["--include-operation-id", part, "--phases", _EACH] if part != STATEFUL else ["--phases", STATEFUL]
            began = time.monotonic()
            result = fuzz(process.url, arguments.examples, *only)
            said = re.search(r"Test cases:\n(.*)", result.stdout)
            cases = said[1].strip() if said else "no cases"
            took = f"{time.monotonic() - began:.0f} s, server {process.resident_mib:.0f} MiB"
            is_clean = result.returncode == 0 and said is not None
            print(f"{part}: {cases}; {took}{'' if is_clean else '; FAILED'}", flush=True)
            if not is_clean:
                print(result.stdout, result.stderr, sep="\n", flush=True)
                failed.append(part)
    print(f"failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
