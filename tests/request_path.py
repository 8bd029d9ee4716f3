"""Which files a request passes, as Python's profiler sees it: `python -m tests.request_path` prints both paths."""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from tests.system.live_server import checkpoint, live_server, publish, tiny_base

ROOT = Path(__file__).parents[1]
PACKAGES = ("server", "prompts_store")


class PathRecorder:
    """Records, in every thread that starts while it is installed, the files whose functions are called.

    `files` are in the order of their first call, with how often each was entered from another file. `returns` are calls
    that go back up: from one file into another one that is below it on the stack already.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.files: dict[str, int] = {}
        self.returns: dict[tuple[str, str], None] = {}
        self._names: dict[str, str | None] = {}

    def __enter__(self) -> PathRecorder:
        threading.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)

    def clear(self) -> None:
        """Forget what was recorded, and record from now on."""
        self.files.clear()
        self.returns.clear()
        self.is_on = True

    def _called(self, frame: FrameType, event: str, _: Any) -> None:
        if not self.is_on or event != "call":
            return
        name = self._name(frame)
        if name is None or frame.f_code.co_name.startswith("<"):
            return
        caller = next(self._ours(frame.f_back), None)
        if caller != name:
            self.files[name] = self.files.get(name, 0) + 1
        if caller is not None and caller != name and name in self._ours(frame.f_back):
            self.returns.setdefault((caller, name))

    def _ours(self, frame: FrameType | None):
        while frame is not None:
            name = self._name(frame)
            if name is not None:
                yield name
            frame = frame.f_back

    def _name(self, frame: FrameType) -> str | None:
        path = frame.f_code.co_filename
        if path not in self._names:
            found = Path(path).relative_to(ROOT).as_posix() if Path(path).is_relative_to(ROOT) else ""
            self._names[path] = found if found.startswith(tuple(f"{package}/" for package in PACKAGES)) else None
        return self._names[path]


def record(folder: Path) -> tuple[PathRecorder, PathRecorder]:
    """The paths of one greedy completion by a task, and of the upload of a version."""
    completion, upload = PathRecorder(), PathRecorder()
    base = tiny_base(folder / "base")

    def serve(recorder: PathRecorder, data_dir: str, is_upload: bool) -> None:
        with (
            recorder,
            live_server(base_model=str(base), data_dir=folder / data_dir, num_kv_blocks=64) as server,
            httpx.Client(base_url=server.url, timeout=60) as client,
        ):
            publish(client, "mood", checkpoint(1))
            body = {"model": "mood", "prompt": "a day", "max_tokens": 3, "temperature": 0}
            client.post("/v1/completions", json=body).raise_for_status()
            server.idle_stats()
            recorder.clear()
            if is_upload:
                publish(client, "mood", checkpoint(2))
            else:
                client.post("/v1/completions", json={**body, "prompt": "a night"}).raise_for_status()
            recorder.is_on = False

    serve(completion, "first", is_upload=False)
    serve(upload, "second", is_upload=True)
    return completion, upload


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for title, recorder in zip(("completion", "upload"), record(Path(name)), strict=True):
            print(f"{title}: {len(recorder.files)} files, {len(recorder.returns)} calls back up")
            print(*(f"  {file} {num_entries}" for file, num_entries in recorder.files.items()), sep="\n")
            print(*(f"  {caller} -> {callee}" for caller, callee in recorder.returns), sep="\n")
    sys.exit(0)
