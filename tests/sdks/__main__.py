"""SDKs in three languages: generated from docs/openapi.json, compiled, and used on a live server: `make sdks`.

They are left in `.sdks/`. The server needs a key, so that each SDK has to send one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.api.__main__ import DOCUMENT
from server.demo import TASKS_DIR
from tests.system.server_process import ROOT, ServerProcess

SOURCES = Path(__file__).parent
SDKS = ROOT / ".sdks"
PROGRAMS = SDKS / "venv/bin"
NODE_MODULES = SOURCES / "node_modules"
STEPS = ("publish", "movealias", "complete", "stream", "classify", "tune", "notfound")
"""What each program does, in its order and without the separators of its language."""
PASSED = "passed: "
TIMEOUT_S = 600.0
KEY = "the-key-of-the-round-trips"

Command = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Sdk:
    """How one language's SDK is made of the document and used. Each command runs in the language's folder."""

    language: str
    generator: str
    needs: Sequence[Path]
    """Programs that `make sdks` installs."""
    program: tuple[str, str]
    """The round trip's source, and where it stands beside the generated code."""
    generate: Command
    build: Sequence[Command]
    run: Command
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the SDK lies."""
        return SDKS / self.language.lower()


NODE = PROGRAMS / "node"
GO = PROGRAMS / "go"
MODULES = NODE_MODULES / ".bin"
# Of the generated code itself some lines do not pass.
MYPY = (sys.executable, "-m", "mypy", "--config-file", os.devnull, "--strict", "--follow-imports", "silent")
ALL = (
    Sdk(
        "Python",
        "openapi-python-client",
        needs=(),
        program=("round_trip.py", "round_trip.py"),
        generate=(
            sys.executable, "-m", "openapi_python_client", "generate", "--path", DOCUMENT, "--meta", "none",
            "--output-path", "softprompt_sdk", "--config", SOURCES / "openapi-python-client.yaml", "--overwrite",
        ),
        build=((*MYPY, "round_trip.py"),),
        run=(sys.executable, "round_trip.py"),
    ),
    Sdk(
        "TypeScript",
        "hey-api",
        needs=(NODE, MODULES / "openapi-ts", MODULES / "tsc"),
        program=("round_trip.ts", "src/round_trip.ts"),
        generate=(NODE, MODULES / "openapi-ts", "--file", SOURCES / "openapi-ts.config.mjs"),
        build=((NODE, MODULES / "tsc", "--project", "."),),
        run=(NODE, "dist/round_trip.js"),
        environment={"SDK_DOCUMENT": str(DOCUMENT), "SDK_FOLDER": "src/sdk"},
    ),
    Sdk(
        "Go",
        "openapi-generator",
        needs=(PROGRAMS / "openapi-generator-cli", GO),
        program=("round_trip.go", "cmd/round_trip/main.go"),
        generate=(
            PROGRAMS / "openapi-generator-cli", "generate", "--generator-name", "go", "--input-spec", DOCUMENT,
            "--output", ".", "--config", SOURCES / "openapi-generator.yaml",
            "--global-property", "apis,models,supportingFiles,apiTests=false,modelTests=false",
        ),
        build=((GO, "vet", "./..."), (GO, "build", "-o", "round_trip", "./cmd/round_trip")),
        run=("./round_trip",),
        # The generated client needs the standard library alone.
        environment={
            "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod",
            "GOCACHE": str(SDKS / "go-cache"), "GOPATH": str(SDKS / "go-path"),
        },
    ),
)  # fmt: skip


class Failed(Exception):
    """A command of a language failed; the text is its output."""


def make(sdk: Sdk) -> None:
    """Generate and compile. Raises Failed."""
    shutil.rmtree(sdk.folder, ignore_errors=True)
    sdk.folder.mkdir(parents=True)
    if sdk.language == "TypeScript":  # resolved from the folder of the code
        shutil.copy(SOURCES / "tsconfig.json", sdk.folder)
        shutil.copy(SOURCES / "package.json", sdk.folder)
        (sdk.folder / "node_modules").symlink_to(NODE_MODULES, target_is_directory=True)
    _call(sdk, sdk.generate)
    source, name = sdk.program
    (sdk.folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCES / source, sdk.folder / name)
    for command in sdk.build:
        _call(sdk, command)


def use(sdk: Sdk, url: str) -> None:
    """Run the round trip, and see that no step was left out. Raises Failed."""
    printed = _call(
        sdk,
        sdk.run,
        SOFTPROMPT_URL=url,
        SOFTPROMPT_API_KEY=KEY,
        CHECKPOINT=str(TASKS_DIR / "sentiment"),
        TASK=f"from-{sdk.language.lower()}",
    )
    steps = [line.removeprefix(PASSED) for line in printed.splitlines() if line.startswith(PASSED)]
    if tuple(step.replace("_", "").lower() for step in steps) != STEPS:
        raise Failed(f"the steps were {steps}, not {STEPS}")


def _call(sdk: Sdk, command: Command, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SOFTPROMPT_")}
    environment |= {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", **sdk.environment, **variables}
    try:
        ended = subprocess.run(
            [str(part) for part in command], cwd=sdk.folder, env=environment, timeout=TIMEOUT_S, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} did not end within {TIMEOUT_S:.0f} s") from None
    if ended.returncode:
        raise Failed(f"{command[0]} ended with {ended.returncode}:\n{ended.stdout[-6000:]}")
    return ended.stdout


def main() -> int:
    """Make and use every SDK, or those that are named; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdks", description=__doc__)
    names = [sdk.language for sdk in ALL]
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help=f"of {', '.join(names)}; all by default")
    wanted = parser.parse_args().languages or names
    if unknown := set(wanted) - set(names):
        parser.error(f"there is no SDK in {', '.join(unknown)}, only in {', '.join(names)}")
    asked = [sdk for sdk in ALL if sdk.language in wanted]
    if missing := [path for sdk in asked for path in sdk.needs if not path.exists()]:
        print(f"this machine lacks {', '.join(map(str, missing))}: run make sdks, which installs them", file=sys.stderr)
        return 1
    num_passed = 0
    with (
        tempfile.TemporaryDirectory() as name,
        ServerProcess(Path(name) / "log", data_dir=Path(name) / "data", admin_key=KEY, threads=1) as server,
    ):
        for sdk in asked:
            began = time.monotonic()
            try:
                make(sdk)
                made = time.monotonic()
                use(sdk, server.url)
            except Failed as error:
                print(f"FAILED {sdk.language}: {error}", flush=True)
                continue
            num_passed += 1
            times = f"made in {made - began:.1f} s, {len(STEPS)} steps in {time.monotonic() - made:.1f} s"
            print(f"{sdk.language} by {sdk.generator}: {times}, in {sdk.folder.relative_to(ROOT)}", flush=True)
    print(f"{num_passed} passed, {len(asked) - num_passed} failed")
    return int(num_passed < len(asked))


if __name__ == "__main__":
    sys.exit(main())
