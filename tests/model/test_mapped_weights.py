"""Weights that packing replaced leave the process, where they are pages of a mapped file."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch

from server.model.base_model import BaseModelOptions, load_base_model
from server.model.cpu.mapped_weights import MappedFiles
from server.model.cpu.packing import PackedLinear
from tests.parity.architectures import build

linux_only = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="there is no /proc/self/maps")
NUM_VALUES = 1 << 20


def resident_bytes(file: Path) -> int:
    """Resident bytes of a mapped file."""
    number, is_found = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *words = line.split()
        if not first.endswith(":"):
            is_found = words[-1] == str(file)
        elif first == "Rss:" and is_found:
            number += int(words[0]) * 1024
    return number


@pytest.fixture
def mapped(tmp_path):
    """A file of float32 numbers, and a tensor of all but the first 1,000 of them in a private mapping."""
    path = tmp_path / "numbers"
    torch.arange(NUM_VALUES, dtype=torch.float32).numpy().tofile(path)
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return path, torch.frombuffer(pages, dtype=torch.float32)[1000:]


@linux_only
def test_dropped_pages_leave_the_process_and_are_read_again(mapped):
    """Whole pages only: what shares a page with other numbers stays."""
    path, weight = mapped
    expected = weight.sum()
    assert resident_bytes(path) >= weight.nbytes
    dropped = MappedFiles().drop(weight)
    assert weight.nbytes - 2 * mmap.PAGESIZE < dropped <= weight.nbytes
    assert resident_bytes(path) <= 2 * mmap.PAGESIZE
    assert weight.sum() == expected


@linux_only
def test_other_memory_is_left_alone():
    """A tensor of the process itself would be lost."""
    weight = torch.ones(NUM_VALUES)
    assert MappedFiles().drop(weight) == 0
    assert weight.sum() == NUM_VALUES


def test_a_system_without_maps_drops_nothing(mapped, tmp_path):
    """Elsewhere than on Linux."""
    assert MappedFiles(tmp_path / "none").drop(mapped[1]) == 0


@linux_only
def test_a_loaded_model_keeps_one_copy_of_packed_weights(tmp_path):
    """Of the file only embeddings, norms and parts of pages stay resident, and the numbers are the file's."""
    reference = build("llama-wide")
    reference.save_pretrained(tmp_path)
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device="cpu", dtype="float32"))
    packed = [module for module in loaded.model.modules() if isinstance(module, PackedLinear)]
    if not packed:
        pytest.skip("nothing is packed on this machine")
    file = tmp_path / "model.safetensors"
    assert resident_bytes(file) < file.stat().st_size / 4
    down = reference.model.layers[0].mlp.down_proj.weight
    assert torch.equal(loaded.model.model.layers[0].mlp.down_proj.weight, down)
