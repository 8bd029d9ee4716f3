"""How large the KV cache becomes."""

from __future__ import annotations

import pytest
import torch

from server.model import memory
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model
from server.model.errors import OutOfDeviceMemory
from server.model.kv_cache import KVCache
from server.model.memory import CacheSize, available_bytes, choose_num_blocks, unused_bytes
from tests.parity.architectures import build


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("memory")
    build("llama").save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device="cpu", dtype="float32"))


def test_a_number_of_blocks_does_not_count_the_padding_block(loaded):
    assert choose_num_blocks(loaded, CacheSize(block_size=16, num_blocks=100)) == 101


def test_a_size_is_filled_and_not_exceeded(loaded):
    per_block = KVCache.bytes_per_block(loaded.architecture.layers, 16, torch.float32)
    gib = 100.5 * per_block / 1024**3
    assert choose_num_blocks(loaded, CacheSize(block_size=16, gib=gib)) == 101


def test_by_default_memory_holds_a_whole_context(loaded):
    num_blocks = choose_num_blocks(loaded, CacheSize(block_size=16))
    assert (num_blocks - 1) * 16 >= loaded.architecture.max_context


def test_a_size_too_small_for_the_context_is_refused_with_the_option_to_use(loaded):
    with pytest.raises(OutOfDeviceMemory, match="--num-kv-blocks"):
        choose_num_blocks(loaded, CacheSize(block_size=16, gib=1e-6))


MEMINFO = "MemTotal:       8000 kB\nMemFree:         100 kB\nMemAvailable:   4000 kB\nHugePages_Total:       0\n"


@pytest.mark.parametrize(
    ("limit", "current", "inactive", "expected"),
    [
        (None, 0, 0, 4000 * 1024),  # no control group
        ("max", 5000, 0, 4000 * 1024),
        ("2048000", 1024000, 24000, 2048000 - 1000000),
        ("9999999999", 0, 0, 4000 * 1024),
        ("1000", 5000, 0, 0),
    ],
)
def test_memory_that_is_left_is_the_machines_or_the_containers(tmp_path, limit, current, inactive, expected):
    """Whichever is less; files that are only cached count as left."""
    meminfo, group = tmp_path / "meminfo", tmp_path / "group"
    meminfo.write_text(MEMINFO)
    if limit is not None:
        group.mkdir()
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{current}\n")
        (group / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")
    assert available_bytes(meminfo, group) == expected


def test_a_system_without_either_has_its_free_pages(tmp_path):
    assert available_bytes(tmp_path / "none", tmp_path) > 0


def test_memory_that_no_tensor_uses_is_the_machines_or_the_gpus(monkeypatch):
    """Of a GPU, what PyTorch keeps for later tensors is among it."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 11)
    assert unused_bytes(torch.device("cpu")) == 11
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 50)
    assert unused_bytes(torch.device("cuda")) == 120
