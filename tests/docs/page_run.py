"""Running the blocks of a page in a folder that looks like a fresh clone."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.snippets import ROOT, Block, is_printed, script

TIMEOUT_S = 150.0
PORTS = (8000, 8001, 8002)
"""The ports of the pages. A run has others, which are free."""

# A server is started in the background and waited for. It is no child of the shell: `wait` does not wait for it.
_SERVE = r"""
wait_for_port() {
  until curl -sf "http://127.0.0.1:$1/ready" >/dev/null; do
    if [ -e "$SERVER_LOGS/$1.ended" ]; then cat "$SERVER_LOGS/$1" >&2; return 1; fi
    sleep 0.2
  done
}
in_background() {
  local port=$SOFTPROMPT_PORT previous=
  for word; do [ "$previous" = --port ] && port=$word; previous=$word; done
  ({ "$@" >"$SERVER_LOGS/$port" 2>&1 || true; touch "$SERVER_LOGS/$port.ended"; } &)
  wait_for_port "$port"
}
softprompt() { if [ "${1-}" = serve ]; then in_background command softprompt "$@"; else command softprompt "$@"; fi; }
"""

# In the suite, the programs are installed already.
INSTALLED = r"""
source() { :; }
make() {
  case "$1" in
    install) ;;
    serve) eval "softprompt serve ${2#ARGS=}" ;;
    *) echo "make $1 does not run in the suite" >&2; return 1 ;;
  esac
}
"""

# Where nothing is installed yet, `make` is make itself.
FRESH = r"""
make() { if [ "$1" = serve ]; then in_background command make "$@"; else command make "$@"; fi; }
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page runs: a folder, the ports instead of those of the page, and what else is replaced in its text."""

    folder: Path
    ports: Mapping[int, int] = field(default_factory=lambda: {port: free_port() for port in PORTS})
    replaced: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    preamble: str = INSTALLED

    def changed(self, text: str) -> str:
        """The text of a block with what is replaced."""
        for port, other in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(other), text)
        for pattern, other in self.replaced.items():
            text = re.sub(pattern, other, text)
        return text


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def make_clone(folder: Path) -> Path:
    """A folder with the top level of the repository as links, in which a page may write files of its own."""
    folder.mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in (".git", "site") and not path.name.endswith("cache"):
            (folder / path.name).symlink_to(path)
    return folder


def run(page_blocks: Sequence[Block], place: Place, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Run blocks one after another and return what each printed; fail if one fails or prints something else."""
    logs = place.folder.with_name(f"{place.folder.name}.printed")
    logs.mkdir()
    text = _SERVE + place.preamble + script(page_blocks, logs, place.changed)
    status = _run_script(text, place, logs, timeout_s)
    printed = [path.read_text() for path in sorted(logs.glob("*.out"), key=lambda path: int(path.stem))]
    if status:
        block = page_blocks[max(len(printed) - 1, 0)]
        errors = (logs / f"{len(printed) - 1}.err").read_text() if printed else ""
        raise AssertionError(f"{block.place} ends with status {status}:\n{block.text}\n{printed[-1:]}\n{errors}")
    for block, found in zip(page_blocks, printed, strict=True):
        if block.printed is not None:
            expected = place.changed(block.printed)
            assert is_printed(expected, found), f"{block.place} prints\n{found}\nand the page says\n{expected}"
    return printed


def _run_script(text: str, place: Place, logs: Path, timeout_s: float) -> int:
    """The exit status of the script. What it has started ends with it."""
    port = str(place.ports[PORTS[0]])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SOFTPROMPT_", "COV"))},
        "SOFTPROMPT_PORT": port,
        "PORT": port,
        "SOFTPROMPT_URL": f"http://127.0.0.1:{port}",
        "SERVER_LOGS": str(logs),
        "COLUMNS": "120",
        **place.environment,
    }
    process = subprocess.Popen(
        ["bash", "-c", text], cwd=place.folder, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return 124
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
