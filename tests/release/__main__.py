"""The wheel, installed in a fresh environment and used in a folder without the source: `make wheel-test`.

Two wheels are built: with the C module, if there is a C compiler, and without. By default building and running take
their libraries from .venv; with `--pip`, pip installs those of constraints.txt, which takes minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
COMPILED, PURE = "abi3", "none-any"
_NAMED_BY_PAGE = re.compile(r'(?:href|src)="([^":]+[.](?:js|css|svg|json))"')
_IMPORTED = re.compile(r"""^(?:import|export)\b[^;]*?["']([.]{1,2}/[^"']+)["'];""", re.MULTILINE)
START_TIMEOUT_S, COMMAND_TIMEOUT_S = 300.0, 1200.0


def build(folder: Path, kind: str, *, with_pip: bool) -> Path:
    """The wheel of the tracked files; PURE as on a machine without a C compiler."""
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    variables = {"CC": "/bin/false"} if kind == PURE else {}
    alone = () if with_pip else ("--no-build-isolation",)
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *alone)
    _run(*command, "--wheel-dir", folder / kind, source, **variables)
    (wheel,) = (folder / kind).glob("*.whl")
    shutil.rmtree(source)
    return wheel


def install(folder: Path, wheel: Path, *, with_pip: bool) -> Path:
    """A fresh environment with the wheel; its folder of programs."""
    _run(sys.executable, "-m", "venv", folder)
    python = folder / "bin/python"
    pip = (python, "-m", "pip", "install", "--quiet")
    if with_pip:
        torch = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
        assert torch is not None
        _run(*pip, torch[0])
        _run(*pip, wheel, "--constraint", ROOT / "constraints.txt")
        return python.parent
    _run(*pip, "--no-deps", "--no-index", wheel)
    (own,) = folder.glob("lib/python*/site-packages")
    # A line of a path file adds a folder to the path, but not that folder's own path files: the source stays away.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (own / "libraries.pth").write_text("\n".join(libraries) + "\n")
    return python.parent


def use(programs: Path, folder: Path, kind: str) -> None:
    """Serve, look at the page, complete, publish and tune; every step is asserted."""
    package = Path(_run(programs / "python", "-c", "import server; print(server.__file__)", cwd=folder).strip()).parent
    assert package.is_relative_to(programs.parent), package
    assert any(package.glob("model/cpu/_cpu.*.so")) == (kind == COMPILED)
    with server(programs, folder) as url, httpx.Client(base_url=url, timeout=60) as client:
        look_at_page(client)
        assert _complete(client, "sentiment", "I loved this film") == "positive"
        task = package / "demo/tasks/sentiment"
        print(
            _run(programs / "softprompt", "task", "publish", task, "--task", "mood", "--url", url, cwd=folder), end=""
        )
        assert _complete(client, "mood", "a waste of money") == "negative"
        shutil.copy(ROOT / "examples/messages.jsonl", folder)
        tune = ("tune", "inquiry", "--train", "messages.jsonl", "--url", url, "--steps", "3")
        _run(programs / "softprompt", *tune, cwd=folder)
        assert client.get("/v1/tasks/inquiry").json()["latest_version"] == 1
        assert _complete(client, "inquiry@1", "where is my parcel?") is not None


def look_at_page(client: httpx.Client) -> None:
    """The page at `/` and the one of the routes, with every file that they name and that these import."""
    seen: set[str] = set()
    waiting = ["/", "/docs"]
    while waiting:
        path = waiting.pop()
        answer = client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        seen.add(path)
        named = re.findall(_NAMED_BY_PAGE if "html" in answer.headers["content-type"] else _IMPORTED, answer.text)
        waiting += {answer.url.join(name).path for name in named} - seen - set(waiting)
    assert len(seen) > 50, f"only {len(seen)} files"
    print(f"the pages and their files: {len(seen)} answered", flush=True)


@contextmanager
def server(programs: Path, folder: Path) -> Iterator[str]:
    """`softprompt serve` with its defaults but for the port and the data folder; it must end by itself when told."""
    printed = folder / "printed"
    with printed.open("wb") as out, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "softprompt", "serve", "--port", "0", "--data-dir", "data"],
            cwd=folder, env=_environment(), stdout=out, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (ready := re.search(r"ready: (\S+)", printed.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield ready[1].rstrip("/")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()


def _complete(client: httpx.Client, model: str, prompt: str) -> str:
    answer = client.post("/v1/completions", json={"model": model, "prompt": prompt})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


def _environment(**variables: str) -> dict[str, str]:
    """Without what would lead to the source or change the server."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SOFTPROMPT_", "PYTHON", "VIRTUAL_"))
    }
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **variables}


def _run(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    ended = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=_environment(**variables), timeout=COMMAND_TIMEOUT_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, f"{command[0]}: {ended.returncode}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout


def main() -> None:
    """Build, install and use both wheels."""
    parser = argparse.ArgumentParser(prog="python -m tests.release", description=__doc__)
    parser.add_argument("--pip", action="store_true", help="let pip install the libraries of constraints.txt")
    with_pip = parser.parse_args().pip
    kinds = [COMPILED, PURE] if shutil.which(os.environ.get("CC", "cc")) else [PURE]
    if kinds == [PURE]:
        print("there is no C compiler here: only the wheel without the C module is tested")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # All are built before the first is used, which takes minutes: so they are of one state of the files.
        wheels = {kind: build(folder, kind, with_pip=with_pip) for kind in kinds}
        for kind, wheel in wheels.items():
            print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB", flush=True)
            assert wheel.name.rpartition("-")[0].endswith("abi3") == (kind == COMPILED), wheel.name
            (folder / kind / "elsewhere").mkdir()
            use(install(folder / kind / "venv", wheel, with_pip=with_pip), folder / kind / "elsewhere", kind)
            shutil.rmtree(folder / kind)
    print(f"{len(kinds)} passed, 0 failed")


if __name__ == "__main__":
    main()
