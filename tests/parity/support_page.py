"""The page docs/support.md, as far as it is generated from what was tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from prompts_store.checkpoint_records import BaseKind, TaskType
from tests.parity.oracle import KINDS
from tests.parity.support_row import EXACT, TASK_TYPES, Row

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
VERSIONS = f"Compared with PEFT {version('peft')} and transformers {version('transformers')}."
TITLES = {
    "prompt": "prompt tuning",
    "p": "P-tuning",
    "multitask": "multitask",
    "cpt": "CPT",
    "prefix": "prefix tuning",
    "cartridge": "cartridge",
}
_KIND_TITLES = {
    BaseKind.DECODER: "[decoders](#decoders)",
    BaseKind.ENCODER_DECODER: "[encoder-decoders](#encoder-decoders)",
    BaseKind.ENCODER: "[encoders](#encoders)",
}
_REFUSED = "### Refused at start: {}\n\nNo task type and no prompt type is served on these."


def page_with(rows: Sequence[Row]) -> str:
    """The page with its generated parts replaced."""
    text = _replaced(PAGE.read_text(), "summary", summary(rows))
    for kind in BaseKind:
        text = _replaced(text, kind, section([row for row in rows if row.kind is kind]))
    return text


def generated_part(name: str) -> str:
    """What stands between the marks of this name now."""
    return PAGE.read_text().split(_begin(name))[1].split(_end(name))[0]


def summary(rows: Sequence[Row]) -> str:
    """The counts of rows and cells."""
    lines = [VERSIONS, "", "| | served | of them with exact answers | refused at start | cells exact | cells refused |"]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for kind, title in _KIND_TITLES.items():
        own = [row for row in rows if row.kind is kind]
        served = [row for row in own if row.refused is None]
        cells = [cell for row in served for of_type in row.cells.values() for cell in of_type.values()]
        num_exact = cells.count(EXACT)
        num_cells = len(own) * len(TASK_TYPES[kind]) * len(KINDS)
        numbers = (
            _num_types(served),
            _num_types([row for row in served if EXACT in _all_cells(row)]),
            _num_types([row for row in own if row.refused is not None]),
            num_exact,
            num_cells - num_exact,
        )
        lines.append(f"| {title} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def section(rows: Sequence[Row]) -> str:
    """The tables of one kind of base: one for each task type, the footnotes of all, and what is refused at start."""
    reasons: dict[str, int] = {}
    served = [row for row in rows if row.refused is None]
    refused = [row for row in rows if row.refused is not None]
    lines: list[str] = []
    for task_type in TASK_TYPES[rows[0].kind]:
        lines += _table(task_type, served, reasons)
    lines += [f"[{number}] {reason}" + "  " for reason, number in reasons.items()]
    if refused:
        lines += ["", _REFUSED.format(rows[0].kind + "s"), "", "| model | why |", "|---|---|"]
        lines += [f"| `{row.name}` | {_plain(row.refused or '')} |" for row in refused]
    return "\n".join(lines)


def _table(task_type: TaskType, rows: Sequence[Row], reasons: dict[str, int]) -> list[str]:
    lines = [f"### {task_type}: {rows[0].kind}s", "", f"| model | model type | {' | '.join(TITLES.values())} |"]
    lines.append("|---|---|" + "---|" * len(TITLES))
    for row in rows:
        marks = [_mark(row.cells[task_type][kind], reasons) for kind in TITLES]
        lines.append(f"| {row.name} | `{row.model_type}` | {' | '.join(marks)} |")
    return [*lines, ""]


def _mark(cell: str, reasons: dict[str, int]) -> str:
    return cell if cell == EXACT else f"[{reasons.setdefault(_plain(cell), len(reasons) + 1)}]"


def _plain(text: str) -> str:
    return re.sub(r"([|<*])", r"\\\1", text)


def _all_cells(row: Row) -> list[str]:
    return [cell for of_type in row.cells.values() for cell in of_type.values()]


def _num_types(rows: Sequence[Row]) -> int:
    return len({row.model_type for row in rows})


def _begin(name: str) -> str:
    return f"<!-- {name}: begin -->"


def _end(name: str) -> str:
    return f"<!-- {name}: end -->"


def _replaced(text: str, name: str, part: str) -> str:
    before, after = text.split(_begin(name))[0], text.split(_end(name))[1]
    return f"{before}{_begin(name)}\n\n{part}\n\n{_end(name)}{after}"
