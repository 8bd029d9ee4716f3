"""The worker's half on caches of several forms, with an attention layer that writes them."""

from __future__ import annotations

import pytest
import torch

from softprompt_vllm.cache_layout import CacheGroup, CacheLayout
from softprompt_vllm.errors import Unsupported
from softprompt_vllm.plan import Capture, Load, StepPlan
from softprompt_vllm.prefix_file import path_of, write_key_values
from softprompt_vllm.worker_half import Rank, WorkerHalf
from tests.softprompt_vllm.fakes import BLOCK_SIZE, DIGEST, DIM, LAYERS, NUM_HEADS, FakeAttention, layout

NUM = 6
NUM_BLOCKS = 8
ALONE = Rank(0, 1)
SIZES = layout()


def _worker(folder, *, pages=1, rank=ALONE, heads=NUM_HEADS, permuted=False, sizes=SIZES):
    """A worker whose cache is full of ones: what blocks held before."""
    shape = (NUM_BLOCKS * pages, heads, BLOCK_SIZE // pages, 2 * DIM)
    caches = {
        name: torch.ones(shape[0], shape[2], heads, 2 * DIM).transpose(1, 2) if permuted else torch.ones(shape)
        for name in LAYERS
    }
    worker = WorkerHalf(folder, sizes, 0, rank)
    worker.register(caches, {name: FakeAttention(heads) for name in LAYERS}, {name: i for i, name in enumerate(LAYERS)})
    return worker, caches


def _pairs(heads=NUM_HEADS):
    generator = torch.Generator().manual_seed(0)
    return [tuple(torch.randn(NUM, heads, DIM, generator=generator) for _ in "kv") for _ in LAYERS]


def _positions(cache, blocks, pages=1):
    """`[num_positions, heads, 2 * dim]` of these blocks."""
    size = BLOCK_SIZE // pages
    return torch.stack(
        [cache[block * pages + slot // size, :, slot % size] for block in blocks for slot in range(BLOCK_SIZE)]
    )


@pytest.mark.parametrize(("pages", "permuted"), [(1, False), (2, False), (1, True)])
def test_a_file_is_written_into_a_requests_blocks(tmp_path, pages, permuted):
    """Behind the soft prompt there are zeros, and the second request copies what the first one read."""
    write_key_values(tmp_path, DIGEST, _pairs())
    worker, caches = _worker(tmp_path, pages=pages, permuted=permuted)
    worker.load(StepPlan(loads=[Load(DIGEST, 0, NUM, ([5, 2, 7],), "first", ticket=1)]))
    assert worker.take_results() == ({"first"}, set())
    assert worker.take_report().done == {1: 1}
    path_of(tmp_path, DIGEST).unlink()
    worker.load(StepPlan(loads=[Load(DIGEST, BLOCK_SIZE, NUM, ([5, 3, 7],))]))
    for cache, (key, value) in zip(caches.values(), _pairs(), strict=True):
        found = _positions(cache, [5, 2, 3, 7], pages)
        expected = torch.cat([key, value], dim=-1)
        assert torch.equal(found[:NUM], expected)
        assert torch.equal(found[8:10], expected[BLOCK_SIZE:])
        assert not found[NUM:8].any() and not found[10:12].any()
        assert found[12:].eq(1).all()


@pytest.mark.parametrize("pages", [1, 2])
def test_a_capture_in_two_steps_is_restored(tmp_path, pages):
    """Whole blocks, with zeros in place of what the last block held before."""
    worker, caches = _worker(None, pages=pages)
    wanted = {}
    for name, cache in caches.items():
        cache.copy_(torch.randn(cache.shape))
        wanted[name] = _positions(cache, [4, 6], pages)[:NUM].clone()
    worker.save(StepPlan(captures=[Capture(DIGEST, NUM, 0, 5, ([4, 6],), 1)]))
    assert worker.take_report() is None and DIGEST not in worker.kept
    worker.save(StepPlan(captures=[Capture(DIGEST, NUM, 5, NUM, ([4, 6],), 1)]))
    assert worker.take_report().done == {1: 1}
    worker.load(StepPlan(loads=[Load(DIGEST, 0, NUM, ([1, 2],))]))
    for name, cache in caches.items():
        found = _positions(cache, [1, 2], pages)
        assert torch.equal(found[:NUM], wanted[name])
        assert not found[NUM:].any()


def test_a_layer_may_have_heads_of_its_own_size():
    """A capture is copied in blocks, and what is zeroed behind it has the layer's sizes."""
    worker = WorkerHalf(None, SIZES, 0, ALONE)
    cache = torch.ones(NUM_BLOCKS, NUM_HEADS, BLOCK_SIZE, 5 + 7)
    worker.register({LAYERS[0]: cache}, {LAYERS[0]: FakeAttention(NUM_HEADS, 5, 7)}, {LAYERS[0]: 0})
    worker.save(StepPlan(captures=[Capture(DIGEST, NUM, 0, NUM, ([4, 6],), 1)]))
    assert worker.take_report().done == {1: 1}
    worker.load(StepPlan(loads=[Load(DIGEST, 0, NUM, ([1, 2],))]))
    found = _positions(cache, [1, 2])
    assert found[:NUM].eq(1).all() and not found[NUM:].any()


def test_null_blocks_are_left_alone(tmp_path):
    """Block 0 is everyone's: it lies outside a sliding window."""
    write_key_values(tmp_path, DIGEST, _pairs())
    worker, caches = _worker(tmp_path)
    worker.load(StepPlan(loads=[Load(DIGEST, 0, NUM, ([0, 2],), "first", 1)]))
    for cache in caches.values():
        assert cache[0].eq(1).all()
        assert not cache[2].eq(1).all()


def test_groups_have_blocks_of_their_own(tmp_path):
    """As in a model with sliding windows in some layers."""
    write_key_values(tmp_path, DIGEST, _pairs())
    groups = tuple(CacheGroup((name,), BLOCK_SIZE, 1) for name in LAYERS)
    worker, caches = _worker(tmp_path, sizes=CacheLayout(NUM_BLOCKS, groups, len(LAYERS), NUM_HEADS, DIM))
    worker.load(StepPlan(loads=[Load(DIGEST, 0, NUM, ([1, 2], [0, 3]), "first", 1)]))
    first, second = caches.values()
    assert first[3].eq(1).all() and second[1].eq(1).all()
    assert torch.equal(_positions(second, [3])[:2, :, :DIM], _pairs()[1][0][BLOCK_SIZE:])


@pytest.mark.parametrize(("index", "size", "own", "expected"), [(0, 2, 1, 0), (1, 2, 1, 1), (1, 4, 1, 0), (3, 4, 1, 1)])
def test_a_rank_keeps_its_own_heads(tmp_path, index, size, own, expected):
    """Two heads over two ranks, and over four, where two ranks have the same."""
    write_key_values(tmp_path, DIGEST, _pairs())
    worker, caches = _worker(tmp_path, rank=Rank(index, size), heads=own)
    worker.load(StepPlan(loads=[Load(DIGEST, 0, NUM, ([1, 2],), "first", 1)]))
    found = _positions(caches[LAYERS[0]], [1, 2])[:NUM, :, :DIM]
    assert torch.equal(found, _pairs()[0][0][:, expected : expected + 1])


@pytest.mark.parametrize("fault", ["missing", "damaged", "other layers"])
def test_a_file_that_fails_fails_its_request_alone(tmp_path, fault):
    """The next load of the same step goes on."""
    write_key_values(tmp_path, "c" * 64, _pairs())
    path = write_key_values(tmp_path, DIGEST, _pairs()[: 1 if fault == "other layers" else 2])
    if fault == "missing":
        path.unlink()
    elif fault == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    worker, _ = _worker(tmp_path)
    loads = [Load(DIGEST, 0, NUM, ([1, 2],), "bad", 1), Load("c" * 64, 0, NUM, ([3, 4],), "good", None)]
    worker.load(StepPlan(loads=loads))
    assert worker.take_results() == ({"bad", "good"}, {"bad"})
    assert worker.take_report().failed == {1}
    assert "c" * 64 not in worker.kept  # without a ticket it is not kept


def test_drops_and_refusals_come_first(tmp_path):
    """A refused request is reported as failed, and a digest that is dropped is read anew."""
    write_key_values(tmp_path, DIGEST, _pairs())
    worker, _ = _worker(tmp_path)
    worker.load(StepPlan(loads=[Load(DIGEST, 0, NUM, ([1, 2],), "first", 1)]))
    worker.take_results()
    path_of(tmp_path, DIGEST).unlink()
    worker.load(StepPlan([DIGEST], ["refused"], [Load(DIGEST, 0, NUM, ([1, 2],), "second", 2)]))
    assert worker.take_results() == ({"refused", "second"}, {"refused", "second"})


def test_a_cache_of_another_form_is_refused():
    """At the start, by name."""
    worker = WorkerHalf(None, layout(), 0, Rank(0, 1))
    with pytest.raises(Unsupported, match="does not begin with its blocks"):
        worker.register({LAYERS[0]: torch.ones(2, NUM_BLOCKS)}, {LAYERS[0]: FakeAttention()}, {LAYERS[0]: 0})
    with pytest.raises(Unsupported, match="writes no keys"):
        bare = torch.nn.Module()
        bare.impl = object()
        worker.register({LAYERS[0]: torch.ones(NUM_BLOCKS, 2)}, {LAYERS[0]: bare}, {LAYERS[0]: 0})
    with pytest.raises(Unsupported, match="shares the KV cache"):
        shared = FakeAttention()
        shared.kv_sharing_target_layer_name = LAYERS[1]
        worker.register({LAYERS[0]: torch.ones(NUM_BLOCKS, 2)}, {LAYERS[0]: shared}, {LAYERS[0]: 0})
