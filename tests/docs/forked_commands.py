"""`softprompt` for scripts, forked from the process that has imported everything: a command costs no imports.

A program named `softprompt` hands its arguments, folder and environment to this process, which forks the command, as
`tests/system` forks its servers.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.system.forked_process import ForkedProcess

_SHIM = """#!{python} -ISE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    code, *printed = json.loads(server.makefile().readline())
for stream, path in zip((sys.stdout, sys.stderr), printed):
    stream.write(open(path, encoding="utf-8").read())
sys.exit(code)
"""


@contextmanager
def forked_commands(folder: Path) -> Iterator[Path]:
    """The folder to put first on PATH. Commands that still run when the context closes are stopped."""
    programs, running = folder / "bin", list[ForkedProcess]()
    programs.mkdir(parents=True)
    address = str(folder / "socket")
    shim = programs / "softprompt"
    shim.write_text(_SHIM.format(python=sys.executable, address=address))
    shim.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        threading.Thread(target=_accept, args=(listener, folder, running), daemon=True).start()
        try:
            yield programs
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for process in running:
                process.kill()
                process.wait(10)


def _accept(listener: socket.socket, folder: Path, running: list[ForkedProcess]) -> None:
    with suppress(OSError):  # the listener is closed
        while True:
            caller, _ = listener.accept()
            threading.Thread(target=_answer, args=(caller, folder, running), daemon=True).start()


def _answer(caller: socket.socket, folder: Path, running: list[ForkedProcess]) -> None:
    with caller, suppress(BrokenPipeError):
        arguments, cwd, environment = json.loads(caller.makefile().readline())
        printed = [folder / f"{id(caller)}.{name}" for name in ("out", "err")]
        for path in printed:
            path.write_bytes(b"")
        process = _forked(arguments, Path(cwd), environment, printed)
        running.append(process)
        answer: list[Any] = [process.wait(), *map(str, printed)]
        running.remove(process)
        caller.sendall(json.dumps(answer).encode() + b"\n")


def _forked(arguments: list[str], cwd: Path, environment: dict[str, str], printed: list[Path]) -> ForkedProcess:
    return ForkedProcess(arguments, cwd=cwd, env=environment, stdout=printed[0], stderr=printed[1])
