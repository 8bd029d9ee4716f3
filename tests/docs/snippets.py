"""Code blocks of Markdown pages, as one script per page.

A block in `sh` is commands, a block in `python` a program. A block in `text` that follows one of them is what it
prints: `…` stands for any text. All blocks of a page run in one shell, so `cd` and variables last, as at a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMANDS, PROGRAM, PRINTED = "sh", "python", "text"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a page that runs. `printed` is what the page says that it prints, None if it says nothing."""

    page: str
    line: int
    language: str
    text: str
    printed: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every page of the repository that people read, by its path."""
    found = [*ROOT.glob("*.md"), *(path for top in ("docs", "docker", "demo") for path in (ROOT / top).rglob("*.md"))]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def blocks(page: str) -> list[Block]:
    """The blocks of a page that run, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fences = [(text.count("\n", 0, one.start()) + 1, one[1], one[2]) for one in _FENCE.finditer(text)]
    return list(_running(page, fences))


def _running(page: str, fences: Sequence[tuple[int, str, str]]) -> Iterator[Block]:
    for (line, language, text), (_, following, output) in pairwise([*fences, (0, "", "")]):
        if language in (COMMANDS, PROGRAM):
            yield Block(page, line, language, text, output if following == PRINTED else None)


def script(page_blocks: Sequence[Block], printed: Path, change: Callable[[str], str]) -> str:
    """The blocks as one script for bash. Each block writes into files of its own in `printed`.

    `change` is applied to the text of every block, for addresses and the like.
    """
    parts = ["set -euo pipefail"]
    for number, block in enumerate(page_blocks):
        text = change(block.text)
        if block.language == PROGRAM:
            text = f"python - <<'END_OF_PROGRAM'\n{text}END_OF_PROGRAM\n"
        parts.append(f"exec >'{printed}/{number}.out' 2>'{printed}/{number}.err'\n# {block.place}\n{text}")
    return "\n".join(parts)


def is_printed(expected: str, found: str) -> bool:
    """Whether the output is what the page says. White space at the end of lines does not count."""
    pattern = ".*?".join(re.escape(piece) for piece in _stripped(expected).split("…"))
    return re.fullmatch(pattern, _stripped(found), re.DOTALL) is not None


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
