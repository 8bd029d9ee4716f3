"""The cache of versions' parts in memory."""

import torch

from server.model.prefix import Prefix, PrefixKind
from server.soft_prompts.part_cache import Part, PartCache


def part(name, num_rows):
    return Part(Prefix(name * 64, PrefixKind.EMBEDDINGS, torch.zeros(num_rows, 4)))


def test_the_cache_keeps_what_was_used_last_within_its_bytes():
    """One prefix here has 16 bytes a row; one that alone exceeds the limit is kept until the next."""
    cache = PartCache(max_bytes=64)
    a, b, c, big = part("a", 2), part("b", 2), part("c", 2), part("d", 100)
    cache.put("a", a)
    cache.put("b", b)
    assert cache.get("a") is a
    cache.put("c", c)
    assert (cache.get("b"), cache.get("a"), cache.get("c")) == (None, a, c)
    cache.put("big", big)
    assert (cache.get("a"), cache.get("big")) == (None, big)
    cache.put("a", a)
    assert (cache.get("a"), cache.get("big")) == (a, None)
    cache.put("b", b)
    cache.put("b", b)
    cache.drop({"a", "c"})
    cache.put("c", c)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (None, b, c)
