"""The paged KV cache: slots, copies, scrubbing, and what a block costs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.model.kv_cache import BlockCopy, KVCache, LayerShape
from tests.devices import DEVICE

LAYERS = (LayerShape(2, 4, 4, None), LayerShape(1, 6, 3, 8))
pytestmark = pytest.mark.usefixtures("tensors_on_device")


@pytest.fixture(params=["as on this device", "as on a device that is not a CPU"])
def cache(request) -> KVCache:
    """Six blocks of three slots; each slot of a block holds ten times the block's number and the slot's."""
    return make_cache(request.param == "as on this device")


def make_cache(has_bytes: bool) -> KVCache:
    """Without bytes that NumPy sees, a cache works by PyTorch's operations, as it does on a GPU."""
    made = KVCache(LAYERS, 6, 3, torch.float32, DEVICE)
    if not has_bytes:
        made._bytes = []
    for layer, shape in enumerate(LAYERS):
        slots = torch.arange(3, 18)
        numbers = (slots // 3 * 10 + slots % 3).float()[:, None, None]
        made.write(
            layer,
            slots,
            numbers.expand(-1, shape.num_kv_heads, shape.key_dim),
            -numbers.expand(-1, shape.num_kv_heads, shape.value_dim),
        )
    return made


def numbers(cache: KVCache, layer: int, *blocks: int) -> list[int]:
    """What the slots of some blocks hold, checked to be alike over heads and dimensions, in keys and values."""
    key, value = cache.gather(layer, torch.tensor([blocks]))
    assert key.shape[:3] == value.shape[:3] == (1, LAYERS[layer].num_kv_heads, 3 * len(blocks))
    assert torch.equal(key, key[:, :1, :, :1].expand_as(key))
    assert torch.equal(key[0, 0, :, 0], -value[0, 0, :, 0])
    return [int(number) for number in key[0, 0, :, 0]]


@pytest.mark.parametrize("layer", [0, 1])
def test_gather_follows_the_block_table(cache, layer):
    assert numbers(cache, layer, 4, 1) == [40, 41, 42, 10, 11, 12]


def test_gather_of_several_tables_keeps_them_apart(cache):
    key, _ = cache.gather(0, torch.tensor([[1, 2], [3, 0]]))
    assert key[:, 0, :, 0].tolist() == [[10, 11, 12, 20, 21, 22], [30, 31, 32, 0, 0, 0]]


def test_a_write_reaches_its_slots_and_no_other(cache):
    cache.write(0, torch.tensor([4, 8]), torch.full((2, 2, 4), 7.0), torch.full((2, 2, 4), -7.0))
    assert numbers(cache, 0, 1, 2) == [10, 7, 12, 20, 21, 7]
    assert numbers(cache, 1, 1, 2) == [10, 11, 12, 20, 21, 22]


@pytest.mark.parametrize("layer", [0, 1])
def test_a_copy_takes_the_first_slots_only(cache, layer):
    cache.copy([BlockCopy(source=2, target=5, num_slots=2)])
    assert numbers(cache, layer, 2, 5) == [20, 21, 22, 20, 21, 52]


def test_copies_are_made_in_order(cache):
    cache.copy([BlockCopy(1, 2, 3), BlockCopy(2, 3, 1)])
    assert numbers(cache, 0, 3) == [10, 31, 32]


@given(
    st.lists(st.builds(BlockCopy, st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)), max_size=8),
    st.booleans(),
)
@settings(deadline=None)
def test_copies_are_as_one_after_the_other(copies, has_bytes):
    """Whatever they read that others have written before."""
    cache, expected = make_cache(has_bytes), make_cache(has_bytes)
    copies = [copy for copy in copies if copy.source != copy.target]
    cache.copy(copies)
    for copy in copies:
        for pages in (*expected.keys, *expected.values):
            pages[copy.target, : copy.num_slots] = pages[copy.source, : copy.num_slots].clone()
    pairs = zip((*cache.keys, *cache.values), (*expected.keys, *expected.values), strict=True)
    assert all(torch.equal(pages, wanted) for pages, wanted in pairs)


def test_no_copies_are_fine(cache):
    cache.copy([])
    assert numbers(cache, 0, 5) == [50, 51, 52]


@pytest.mark.parametrize("layer", [0, 1])
def test_scrubbed_blocks_hold_zeros(cache, layer):
    cache.zero([2, 4])
    cache.zero([])
    assert numbers(cache, layer, 2, 3, 4) == [0, 0, 0, 30, 31, 32, 0, 0, 0]


def test_not_finite_is_seen_in_keys_and_in_values_of_any_layer(cache):
    assert cache.all_finite([1, 2, 3, 4, 5])
    cache.values[1][3, 2, 0, 1] = float("inf")
    cache.keys[0][4, 0, 1, 0] = float("nan")
    assert [cache.all_finite([block]) for block in (2, 3, 4)] == [True, False, False]


def test_finiteness_of_all_layers_is_fetched_once(cache, monkeypatch):
    """On a GPU each fetch is a wait for the device."""
    fetched = []
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: fetched.append(tensor) or tensor.tolist())
    assert cache.all_finite([1, 2, 3])
    assert len(fetched) == 1


def test_a_new_cache_is_zero_even_in_its_padding_block():
    made = KVCache(LAYERS, 3, 2, torch.float16, DEVICE)
    assert all(bool((pages == 0).all()) for pages in (*made.keys, *made.values))
    assert made.keys[1].dtype is torch.float16


def test_the_cost_of_a_block_is_what_its_tensors_take():
    made = KVCache(LAYERS, 5, 3, torch.bfloat16, DEVICE)
    total = sum(pages.numel() * pages.element_size() for pages in (*made.keys, *made.values))
    assert total == 5 * KVCache.bytes_per_block(LAYERS, 3, torch.bfloat16)
