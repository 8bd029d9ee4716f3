"""The Triton kernels equal the exact attention, on random batches; run by Triton's interpreter where no GPU is."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.model.attention import AttentionCall
from server.model.attention_bias import AttentionBias
from server.model.flat_batch import Chunk, build_flat_batch
from server.model.gpu import attention
from server.model.gpu.attention import TritonAttention, choose_splits, is_triton_available
from server.model.kv_cache import KVCache, LayerShape
from server.model.paged_attention import PagedAttention
from tests.devices import DEVICE, IS_CPU

pytestmark = pytest.mark.skipif(not is_triton_available(), reason="Triton is not installed")

# Of the answers' size, which is about 1: what rounding in the type of weights and values may come to.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Layer:
    """What a layer may ask for."""

    num_kv_heads: int
    heads_each: int
    key_dim: int
    value_dim: int
    window: int | None
    softcap: float | None
    has_sinks: bool
    dtype: torch.dtype
    bias: str | None = None


layers = st.builds(
    Layer,
    num_kv_heads=st.integers(1, 3),
    heads_each=st.sampled_from([1, 2, 3, 7, 20]),
    key_dim=st.sampled_from([8, 16, 40, 64]),
    value_dim=st.sampled_from([8, 16, 40]),
    window=st.none() | st.integers(1, 30),
    softcap=st.none() | st.floats(0.5, 50),
    has_sinks=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
    bias=st.none() | st.sampled_from(["relative", "absolute", "short"]),
)
# (positions computed before, tokens of this step)
spans = st.lists(
    st.tuples(st.integers(0, 150), st.just(1) | st.integers(2, 9) | st.integers(30, 90)), min_size=1, max_size=5
)


def make_chunks(spans: list[tuple[int, int]], block_size: int, choice: random.Random) -> tuple[list[Chunk], int]:
    """Chunks over scattered blocks, none shared; and how many blocks there are."""
    needs = [-(-(start + length) // block_size) for start, length in spans]
    blocks = list(range(1, 1 + sum(needs)))
    choice.shuffle(blocks)
    tables = [[blocks.pop() for _ in range(need)] for need in needs]
    chunks = [Chunk([0] * length, start, table, None) for (start, length), table in zip(spans, tables, strict=True)]
    return chunks, 1 + sum(needs)


def make_call(layer: Layer, num_tokens: int, generator: torch.Generator) -> AttentionCall:
    def rows(num_heads: int, dim: int) -> torch.Tensor:
        # As transformers hands them over: heads beside one another in a row of the batch.
        flat = torch.randn(num_tokens, num_heads, dim, generator=generator)
        return flat.to(DEVICE, layer.dtype).transpose(0, 1)

    num_heads = layer.num_kv_heads * layer.heads_each
    return AttentionCall(
        layer=0,
        query=rows(num_heads, layer.key_dim),
        key=rows(layer.num_kv_heads, layer.key_dim),
        value=rows(layer.num_kv_heads, layer.value_dim),
        scaling=layer.key_dim**-0.5,
        sliding_window=layer.window,
        softcap=layer.softcap,
        sinks=torch.randn(num_heads, generator=generator).to(DEVICE, layer.dtype) if layer.has_sinks else None,
        bias=None if layer.bias is None else make_bias(layer.bias, num_heads, generator),
    )


def make_bias(kind: str, num_heads: int, generator: torch.Generator) -> AttentionBias:
    """A table over all positions of a span; "short" ends after 20 distances, as relative positions in buckets do."""
    table = torch.randn(num_heads, 20 if kind == "short" else 250, generator=generator)
    return AttentionBias(table.to(DEVICE), is_relative=kind != "absolute")


def make_cache(layer: Layer, num_blocks: int, block_size: int, generator: torch.Generator) -> KVCache:
    """Blocks that hold what earlier steps left there; block 0 is zero."""
    shape = LayerShape(layer.num_kv_heads, layer.key_dim, layer.value_dim, layer.window)
    cache = KVCache([shape], num_blocks, block_size, layer.dtype, DEVICE)
    for pages in (*cache.keys, *cache.values):
        pages[1:] = torch.randn(pages[1:].shape, generator=generator).to(DEVICE, layer.dtype)
    return cache


def triton(cache: KVCache, chunks: list[Chunk], num_splits: int) -> TritonAttention:
    return TritonAttention(cache, build_flat_batch(chunks, cache.block_size, DEVICE), num_splits)


def check(layer: Layer, spans: list[tuple[int, int]], block_size: int, num_splits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    chunks, num_blocks = make_chunks(spans, block_size, random.Random(seed))
    cache = make_cache(layer, num_blocks, block_size, generator)
    exact = KVCache([LayerShape(layer.num_kv_heads, layer.key_dim, layer.value_dim, None)], num_blocks, block_size,
                    torch.float32, DEVICE)  # fmt: skip
    exact.keys[0].copy_(cache.keys[0])
    exact.values[0].copy_(cache.values[0])
    call = make_call(layer, sum(chunk.num_tokens for chunk in chunks), generator)
    widened = AttentionCall(
        call.layer, call.query.float(), call.key.float(), call.value.float(), call.scaling, call.sliding_window,
        call.softcap, None if call.sinks is None else call.sinks.float(), call.bias,
    )  # fmt: skip
    expected = PagedAttention(exact, build_flat_batch(chunks, block_size, DEVICE)).attend(widened)
    actual = triton(cache, chunks, num_splits).attend(call)
    assert actual.dtype is layer.dtype
    torch.testing.assert_close(actual.float(), expected, atol=TOLERANCE[layer.dtype], rtol=TOLERANCE[layer.dtype])
    assert torch.equal(cache.keys[0].float(), exact.keys[0]), "keys were not stored where they belong"
    assert torch.equal(cache.values[0].float(), exact.values[0]), "values were not stored where they belong"


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(layers, spans, st.sampled_from([1, 4, 16, 20]), st.sampled_from([1, 2, 8]), st.integers(0, 2**31))
def test_random_batches_equal_exact_attention_in_float32(layer, spans, block_size, num_splits, seed):
    """Any heads, sizes, windows, caps, sinks, biases, types, block tables, lengths, and any number of splits."""
    check(layer, spans, block_size, num_splits, seed)


def test_a_window_smaller_than_what_the_splits_cut():
    """Most splits have nothing to see."""
    layer = Layer(2, 2, 16, 16, window=3, softcap=None, has_sinks=True, dtype=torch.float32)
    check(layer, [(140, 1), (0, 1), (63, 1), (64, 1)], 16, 8, seed=1)


@pytest.mark.parametrize("bias", ["relative", "absolute", "short"])
def test_a_bias_is_that_of_the_exact_path(bias):
    """Decodes in splits, and a prefill behind a context."""
    layer = Layer(2, 2, 16, 16, None, None, False, torch.float32, bias)
    check(layer, [(140, 1), (30, 9), (0, 1)], 16, 2, seed=2)


def test_what_other_owners_left_in_blocks_is_never_read():
    """Not even NaN in the slots past a sequence's end: they are not loaded."""
    layer = Layer(2, 2, 16, 16, None, None, False, torch.float32)
    generator = torch.Generator().manual_seed(0)
    chunks, num_blocks = make_chunks([(5, 1), (3, 4)], 16, random.Random(0))
    cache = make_cache(layer, num_blocks, 16, generator)
    for chunk in chunks:
        cache.keys[0][chunk.block_table[0], chunk.start + chunk.num_tokens :] = float("nan")
        cache.values[0][chunk.block_table[0], chunk.start + chunk.num_tokens :] = float("nan")
    output = triton(cache, chunks, 2).attend(make_call(layer, 5, generator))
    assert bool(output.isfinite().all())


@pytest.mark.skipif(not IS_CPU, reason="4 GiB, which only a CPU does not take before they are touched")
def test_rows_more_than_32_bits_of_numbers_apart_are_stored():
    """Rows of a long batch are, where projections share a tensor. Of all that memory three pages are touched."""
    stride = 2**30 + 64
    flat = torch.from_numpy(np.zeros(2 * stride + 16, np.float16))
    rows = flat.as_strided((1, 3, 16), (16, stride, 1))
    rows[0, :, :] = torch.arange(1, 4, dtype=torch.float16)[:, None]
    layer = Layer(1, 1, 16, 16, None, None, False, torch.float16)
    chunks, num_blocks = make_chunks([(0, 3)], 16, random.Random(0))
    cache = make_cache(layer, num_blocks, 16, torch.Generator())
    call = AttentionCall(0, rows, rows, rows, 0.25, None, None, None)
    triton(cache, chunks, 1).attend(call)
    assert cache.keys[0][1, :3, 0, 0].tolist() == [1.0, 2.0, 3.0]


def test_kernels_are_launched_on_the_device_of_the_tensors(monkeypatch):
    """Triton takes the current device, which on a machine with several GPUs is another one."""
    current = []

    @contextmanager
    def device_of(tensor):
        current.append(tensor.device)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    store = attention._store

    def checked_store(call, *rest):
        assert current == [call.query.device]
        store(call, *rest)

    monkeypatch.setattr(attention, "_store", checked_store)
    layer = Layer(1, 1, 16, 16, None, None, False, torch.float32)
    chunks, num_blocks = make_chunks([(5, 1)], 16, random.Random(0))
    generator = torch.Generator().manual_seed(0)
    triton(make_cache(layer, num_blocks, 16, generator), chunks, 1).attend(make_call(layer, 1, generator))
    assert current == []


def test_large_scores_do_not_overflow():
    layer = Layer(1, 2, 16, 16, None, 30.0, True, torch.float32)
    generator = torch.Generator().manual_seed(0)
    chunks, num_blocks = make_chunks([(40, 1), (3, 4)], 16, random.Random(0))
    cache = make_cache(layer, num_blocks, 16, generator)
    cache.keys[0].mul_(1e4)
    output = triton(cache, chunks, 2).attend(make_call(layer, 5, generator))
    assert bool(output.isfinite().all())


@pytest.mark.parametrize(("num_sequences", "expected"), [(1, 32), (8, 4), (32, 1), (256, 1)])
def test_small_batches_are_split(num_sequences, expected):
    """Enough programs for a device of unknown size, a power of two, never more than there is use for."""
    assert choose_splits(num_sequences, 8, torch.device("cpu")) == expected
