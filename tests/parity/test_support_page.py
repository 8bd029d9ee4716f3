"""docs/support.md was written for the pinned versions, and for the families and the types of the code."""

from __future__ import annotations

import re

import pytest

from prompts_store.checkpoint_records import BaseKind, TaskType
from server.model.encoder_decoder.families import FAMILIES as ENCODER_DECODER_FAMILIES
from tests.parity.architectures import CONFIGS, REFUSED_BY_PEFT
from tests.parity.encoder_decoders import ENCODER_DECODERS
from tests.parity.oracle import KINDS
from tests.parity.support import decoders, encoder_decoders, encoders
from tests.parity.support_page import TITLES, VERSIONS, generated_part
from tests.parity.support_row import EXACT, TASK_TYPES
from tests.parity.test_encoder_parity import FAMILIES as ENCODER_FAMILIES
from tests.parity.test_encoder_parity import KEY_VALUES, WITHOUT_PREFIX

NAMES = {
    BaseKind.DECODER: decoders,
    BaseKind.ENCODER_DECODER: encoder_decoders,
    BaseKind.ENCODER: encoders,
}
LEAST = {BaseKind.DECODER: 30, BaseKind.ENCODER_DECODER: 6, BaseKind.ENCODER: 6}

Table = dict[str, list[str]]


def tables(kind: BaseKind) -> dict[str, Table]:
    """By task type, the cells of each model."""
    found: dict[str, Table] = {}
    for heading in re.split(r"^### ", generated_part(kind), flags=re.MULTILINE)[1:]:
        task_type = heading.partition(":")[0]
        lines = re.findall(r"^\| (\S+) \| `\S+` \| (.*) \|$", heading, re.MULTILINE)
        if task_type in list(TaskType):
            found[task_type] = {name: cells.split(" | ") for name, cells in lines}
    return found


def refused(kind: BaseKind) -> set[str]:
    """The models that are refused at start."""
    return set(re.findall(r"^\| `(\S+)` \| .+ \|$", generated_part(kind), re.MULTILINE))


def footnotes(kind: BaseKind) -> dict[str, str]:
    """The reasons, by their numbers as cells have them."""
    return dict(re.findall(r"^(\[\d+\]) (.+?) *$", generated_part(kind), re.MULTILINE))


def exact_types(kind: BaseKind) -> set[str]:
    """The model types with an exact cell."""
    return set(re.findall(r"^\| \S+ \| `(\S+)` \| .*\bexact\b", generated_part(kind), re.MULTILINE))


def test_the_page_names_the_installed_versions() -> None:
    """Another PEFT or transformers may run other types: `make support` writes the page again."""
    assert VERSIONS in generated_part("summary")


@pytest.mark.parametrize("kind", BaseKind)
def test_every_family_is_on_the_page_with_every_task_type(kind: BaseKind) -> None:
    """Each name of the code is in each table, or is refused at start; nothing else is there."""
    found, turned_down = tables(kind), refused(kind)
    assert list(found) == list(TASK_TYPES[kind])
    for table in found.values():
        assert set(table) | turned_down == set(NAMES[kind]())
        assert not set(table) & turned_down


@pytest.mark.parametrize("kind", BaseKind)
def test_every_cell_is_exact_or_has_a_reason(kind: BaseKind) -> None:
    """One cell for each prompt type."""
    reasons = footnotes(kind)
    assert tuple(TITLES) == KINDS
    for table in tables(kind).values():
        for name, cells in table.items():
            assert len(cells) == len(KINDS), name
            assert all(cell == EXACT or cell in reasons for cell in cells), name


def test_the_decoders_cells_are_what_the_tests_say() -> None:
    """A cell is exact unless PEFT cannot run it, and then the page has PEFT's error."""
    table, reasons = tables(BaseKind.DECODER)[TaskType.CAUSAL_LM], footnotes(BaseKind.DECODER)
    for name in CONFIGS:
        problems = REFUSED_BY_PEFT.get(name, {})
        for kind, cell in zip(KINDS, table[name], strict=True):
            if kind in problems:
                assert reasons[cell].startswith(f"PEFT: {problems[kind]}")
            else:
                assert cell == EXACT, (name, kind)


def test_the_encoders_cells_are_what_the_tests_say() -> None:
    """CPT alone is not exact, and keys and values on the types that take none."""
    table = tables(BaseKind.ENCODER)[TaskType.SEQ_CLS]
    for name in ENCODER_FAMILIES:
        without = {"cpt", *(KEY_VALUES if name in WITHOUT_PREFIX else ())}
        assert {kind for kind, cell in zip(KINDS, table[name], strict=True) if cell != EXACT} == without, name


def test_the_encoder_decoders_cells_are_what_the_tests_say() -> None:
    """CPT alone is not exact, and no type is refused that the server takes."""
    table = tables(BaseKind.ENCODER_DECODER)[TaskType.SEQ_2_SEQ_LM]
    assert set(table) == set(ENCODER_DECODERS)
    assert set(ENCODER_DECODER_FAMILIES) == exact_types(BaseKind.ENCODER_DECODER)
    for name, cells in table.items():
        assert [kind for kind, cell in zip(KINDS, cells, strict=True) if cell != EXACT] == ["cpt"], name


@pytest.mark.parametrize("kind", BaseKind)
def test_enough_families_are_exact(kind: BaseKind) -> None:
    """And the number that the summary names is that of the tables."""
    exact = exact_types(kind)
    assert len(exact) >= LEAST[kind]
    (count,) = re.findall(rf"^\| \[{kind}s\]\(\S+\) \| \d+ \| (\d+) \|", generated_part("summary"), re.MULTILINE)
    assert int(count) == len(exact)
