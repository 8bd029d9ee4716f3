"""Reference counts of KV blocks, and the prefix cache of text blocks.

The key of a full block of text is a hash chained from its prefix digest, its salt and all tokens up to its end: equal
hashes mean equal keys and values. A block without references keeps its content until it is allocated again: blocks
without a hash go first, then the least recently used. Only the engine thread calls this.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from server.model.prefix import Prefix

BlockKey = bytes


def chain_root(prefix: Prefix | None, salt: bytes, encoder_digest: bytes = b"") -> BlockKey:
    """The start of a sequence's hash chain: the prefix digest and the caller's isolation salt.

    Behind an encoder, all that a decoder computes depends on the encoder's input too: `encoder_digest`, 32 bytes.
    """
    digest = prefix.digest if prefix is not None else ""
    root = hashlib.sha256(b"softprompt kv chain 1\n" + digest.encode() + b"\n" + salt).digest()
    return hashlib.sha256(root + encoder_digest).digest() if encoder_digest else root


def chain_key(parent: BlockKey, tokens: Sequence[int]) -> BlockKey:
    """The key of a full block that holds `tokens` after `parent`."""
    return hashlib.sha256(parent + array("q", tokens).tobytes()).digest()


class OutOfBlocks(Exception):
    """No block is free. The scheduler makes room first, so this never reaches a caller."""


class BlockManager:
    """Blocks 1 to `num_blocks - 1` (block 0 is the KV cache's padding)."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks - 1
        self.block_size = block_size
        self._references = [0] * num_blocks
        self._keys: list[BlockKey | None] = [None] * num_blocks
        self._cached: dict[BlockKey, int] = {}
        self._fresh: list[int] = []
        self._num_cached_free = 0
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))  # the next to allocate first

    @property
    def num_free(self) -> int:
        """Blocks without references, those with cached content included."""
        return len(self._free)

    @property
    def num_cached_free(self) -> int:
        """Blocks without references whose content a sequence can still share."""
        return self._num_cached_free

    def allocate(self) -> int:
        """Allocate a block with one reference, and drop its hash. Raises `OutOfBlocks`."""
        if not self._free:
            raise OutOfBlocks
        block, _ = self._free.popitem(last=False)
        self._forget(block)
        self._references[block] = 1
        self._fresh.append(block)
        return block

    def take_fresh(self) -> tuple[int, ...]:
        """The blocks allocated since the last call: they must be zeroed before anything is written to them.

        A masked slot still takes part in the arithmetic. Numbers that another task left there may overflow, and minus
        infinity plus infinity is NaN.
        """
        fresh, self._fresh = tuple(dict.fromkeys(self._fresh)), []
        return fresh

    def share(self, block: int) -> None:
        """Add a reference to a block that holds content."""
        if self._references[block] == 0:
            del self._free[block]
            self._num_cached_free -= self._keys[block] is not None
        self._references[block] += 1

    def free(self, block: int) -> None:
        """Take one reference back. A block without references can be allocated again."""
        assert self._references[block] > 0, "a block was freed twice"
        self._references[block] -= 1
        if self._references[block] == 0:
            self._free[block] = None
            if self._keys[block] is None:
                self._free.move_to_end(block, last=False)
            else:
                self._num_cached_free += 1

    def free_all(self, blocks: Iterable[int]) -> None:
        """Free a sequence's blocks, last first: the tail of a cached chain is useless without its head."""
        for block in reversed(list(blocks)):
            self.free(block)

    def find(self, key: BlockKey) -> int | None:
        """The block that caches this key, or None."""
        return self._cached.get(key)

    def register(self, block: int, key: BlockKey) -> None:
        """Cache a full block under its key. Of two blocks with equal content, the first stays cached."""
        if key not in self._cached and self._keys[block] is None:
            self._cached[key] = block
            self._keys[block] = key

    def forget(self, block: int) -> None:
        """Remove a block from the cache: its content may be wrong."""
        self._forget(block)

    def references(self, block: int) -> int:
        """The reference count of a block."""
        return self._references[block]

    def check(self) -> None:
        """Assert that each block is either free or referenced, and each cached key names its block."""
        free = set(self._free)
        for block in range(1, len(self._references)):
            assert (block in free) == (self._references[block] == 0), f"block {block} is both free and held, or neither"
        for key, block in self._cached.items():
            assert self._keys[block] == key, f"block {block} is cached under a key it does not have"
        assert self._num_cached_free == sum(self._keys[block] is not None for block in free)

    def _forget(self, block: int) -> None:
        key = self._keys[block]
        if key is not None:
            del self._cached[key]
            self._keys[block] = None
            self._num_cached_free -= self._references[block] == 0
