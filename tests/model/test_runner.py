"""The runner over a real tiny model: how prefixes reach the cache, and what it says of broken ones."""

from __future__ import annotations

import pytest
import torch

from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model
from server.model.errors import NonFiniteValues
from server.model.flat_batch import Chunk
from server.model.kv_cache import BlockCopy, KVCache
from server.model.paged_attention import PagedAttention
from server.model.prefix import Prefix, PrefixKind
from server.model.runner import ModelRunner, PrefixPlacement
from tests.devices import DEVICE, NAME
from tests.parity.architectures import build


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("runner")
    build("llama").save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device=NAME, dtype="float32"))


@pytest.fixture
def cache(loaded) -> KVCache:
    return KVCache(loaded.architecture.layers, 12, 4, torch.float32, DEVICE)


@pytest.fixture
def runner(loaded, cache) -> ModelRunner:
    return ModelRunner(loaded, cache, choose_backend(DEVICE))


def embeddings(num_virtual: int, seed: int = 0) -> Prefix:
    rows = torch.randn(num_virtual, 32, generator=torch.Generator().manual_seed(seed))
    return Prefix(f"{seed:064x}", PrefixKind.EMBEDDINGS, rows)


def test_keys_and_values_read_off_one_prefix_make_another(runner, cache):
    """Embeddings run through the model, and their keys and values written as they are, answer alike."""
    assert runner.load_prefixes([PrefixPlacement(embeddings(6), (1, 2))]) == (None,)
    rows = []
    for layer in range(2):
        for part in cache.gather(layer, torch.tensor([[1, 2]], device=DEVICE)):
            rows.append(part[0].transpose(0, 1)[:6])
    key_values = Prefix("f" * 64, PrefixKind.KEY_VALUES, torch.stack(rows, dim=1).cpu())
    assert runner.load_prefixes([PrefixPlacement(key_values, (3, 4))]) == (None,)
    runner.copy_blocks([BlockCopy(2, 5, 2), BlockCopy(4, 6, 2)])
    logits = runner.forward([Chunk([7, 8], 6, [1, 5], 0), Chunk([7, 8], 6, [3, 6], 0)])
    torch.testing.assert_close(logits[:2], logits[2:])


def test_rows_of_logits_follow_the_chunks(runner):
    together = runner.forward([Chunk([1, 2, 3], 0, [1], 1), Chunk([4, 5], 0, [2], None), Chunk([6], 0, [3], 0)])
    assert together.shape == (3, 61)
    assert together.dtype is torch.float32
    alone = runner.forward([Chunk([1, 2, 3], 0, [4], 1)])
    torch.testing.assert_close(together[:2], alone)


def test_a_batch_without_logits_returns_none(runner):
    assert runner.forward([Chunk([1, 2, 3], 0, [1], None)]).shape == (0, 61)


@pytest.mark.parametrize("kind", PrefixKind)
def test_a_prefix_that_is_not_finite_fails_alone(runner, kind):
    """Its neighbour in the same load is fine."""
    shape = (4, 32) if kind is PrefixKind.EMBEDDINGS else (4, 4, 2, 8)
    broken = Prefix("b" * 64, kind, torch.full(shape, float("inf")))
    failures = runner.load_prefixes([PrefixPlacement(broken, (1,)), PrefixPlacement(embeddings(6), (2, 3))])
    assert isinstance(failures[0], NonFiniteValues)
    assert failures[1] is None


def test_scrubbed_blocks_harm_nobody(runner, cache):
    """NaN left behind in a masked slot would reach the next owner; zeros do not."""
    for pages in (*cache.keys, *cache.values):
        pages[1] = float("nan")
    runner.zero_blocks([1])
    assert bool(runner.forward([Chunk([1, 2], 0, [1], 0)]).isfinite().all())


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("packed")
    build("llama-wide").save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device="cpu", dtype="float32"))


@pytest.mark.parametrize("attention", [PagedAttention, choose_backend(torch.device("cpu"))])
def test_rows_added_to_a_long_step_change_nothing(packed, attention):
    """67 rows become 72 for a packed model: chunks of every kind answer as each does alone."""
    cache = KVCache(packed.architecture.layers, 80, 4, torch.float32, torch.device("cpu"))
    runner = ModelRunner(packed, cache, attention)
    soft_prompt = torch.randn(5, packed.architecture.hidden_size, generator=torch.Generator().manual_seed(0))
    texts = [
        Chunk([3] * 30, 0, list(range(1, 9)), 28),
        *(Chunk([token], 0, [10 + token], 0) for token in range(30)),
        Chunk([5, 6, 7], 0, [45], 0),
        Chunk([8, 9, 10, 11], 0, [46], 3),
    ]
    for chunks in (texts, [*texts[:-2], Chunk(soft_prompt, 0, [50, 51], None), Chunk([1, 2], 0, [52], 1)]):
        assert sum(chunk.num_tokens for chunk in chunks) == 67
        together = runner.forward(chunks)
        torch.testing.assert_close(together, torch.cat([runner.forward([chunk]) for chunk in chunks]))
    decodes = [Chunk([token % 7], 0, [1 + token], 0) for token in range(67)]
    alone = torch.cat([runner.forward([chunk]) for chunk in decodes])
    torch.testing.assert_close(runner.forward(decodes), alone)
    assert not any(bool(pages[0].any()) for pages in (*cache.keys, *cache.values))
