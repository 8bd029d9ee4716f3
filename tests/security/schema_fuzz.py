"""Schemathesis against a server process: every operation of the document, all phases.

The long form, in minutes: `python -m tests.security.schema_fuzz` (1,000 examples an operation).
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.system.hostile_clients import serving

ADMIN_KEY = "schema-fuzz-admin-key"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
NUM_EXAMPLES = 1_000
_RUN = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis(sys.argv[1:]))"


def fuzz(num_examples: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end; the exit code is 0 where every answer was one that the document allows, and none a failure.

    A deadline of the client's own would be answered 503, so there is none but a long one.
    """
    with serving(admin_key=ADMIN_KEY) as process:
        command = [
            sys.executable, "-c", _RUN, "run", f"{process.url}/openapi.json", "--phases",
            "examples,coverage,fuzzing,stateful", "--checks", CHECKS, "--max-examples", str(num_examples),
            "--continue-on-failure", "--request-timeout", "60", "--suppress-health-check", "all", "--no-color",
            "-H", f"Authorization: Bearer {ADMIN_KEY}", "-H", "x-request-timeout-ms: 60000", *options,
        ]  # fmt: skip
        return subprocess.run(command, text=True, capture_output=True)


def main() -> None:
    """Run the long form and show what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=NUM_EXAMPLES)
    parser.add_argument("options", nargs="*", help="further options of `schemathesis run`")
    arguments = parser.parse_args()
    result = fuzz(arguments.examples, *arguments.options)
    print(result.stdout, result.stderr, sep="\n")
    sys.exit(result.returncode)


if __name__ == "__main__":
    main()
