"""The cache of prefixes in host memory."""

import torch

from server.model.prefix import Prefix, PrefixKind
from server.soft_prompts.prefix_cache import PrefixCache


def prefix(name, num_rows):
    return Prefix(name * 64, PrefixKind.EMBEDDINGS, torch.zeros(num_rows, 4))


def test_the_cache_keeps_what_was_used_last_within_its_bytes():
    """One prefix here has 16 bytes a row; one that alone exceeds the limit is kept until the next."""
    cache = PrefixCache(max_bytes=64)
    a, b, c, big = prefix("a", 2), prefix("b", 2), prefix("c", 2), prefix("d", 100)
    cache.put(a)
    cache.put(b)
    assert cache.get(a.digest) is a
    cache.put(c)
    assert (cache.get(b.digest), cache.get(a.digest), cache.get(c.digest)) == (None, a, c)
    cache.put(big)
    assert (cache.get(a.digest), cache.get(big.digest)) == (None, big)
    cache.put(a)
    assert (cache.get(a.digest), cache.get(big.digest)) == (a, None)
    cache.put(b)
    cache.put(b)
    cache.drop({a.digest, c.digest})
    cache.put(c)
    assert (cache.get(a.digest), cache.get(b.digest), cache.get(c.digest)) == (None, b, c)
