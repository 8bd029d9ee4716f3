"""The block table of a sequence: the prefix's blocks, cached ones, and its own.

A table covers positions, virtual tokens first. The lease holds its first blocks, the full ones of the prefix. The
sequence holds a reference on each later block. The prefix's part-filled last block is copied into the first of those,
unless that block was found in the cache, text included. Only the engine thread calls this.
"""

from __future__ import annotations

from server.engine.paged.block_manager import BlockManager, chain_key
from server.engine.paged.sequence import Sequence
from server.model.kv_cache import BlockCopy
from server.soft_prompts.residency import PrefixResidency, ResidentPrefix


class BlockTables:
    """Opens, grows, forks and releases the block tables of sequences."""

    def __init__(self, blocks: BlockManager, residency: PrefixResidency) -> None:
        self._blocks = blocks
        self._residency = residency
        self._size = blocks.block_size

    def open(self, sequence: Sequence, lease: ResidentPrefix | None) -> None:
        """Begin a table: the prefix's full blocks, then all cached blocks that continue them."""
        sequence.lease = lease
        if lease is not None:
            sequence.num_shared_blocks = sequence.num_virtual // self._size
            sequence.block_table = list(lease.blocks[: sequence.num_shared_blocks])
        self._share_cached(sequence)

    def num_missing(self, sequence: Sequence) -> int:
        """Blocks that the table lacks for all tokens to be computed."""
        return max(0, self._num_total(sequence) - len(sequence.block_table))

    def num_to_start(self, sequence: Sequence) -> int:
        """Blocks that must be free for the sequence to start: also those of its encoder's output, if it has none."""
        return self.num_missing(sequence) + self._num_cross(sequence) - len(sequence.cross_blocks)

    def num_own(self, sequence: Sequence) -> int:
        """Blocks that the sequence holds besides its prefix's once all its tokens are computed."""
        return self._num_total(sequence) - sequence.num_virtual // self._size + self._num_cross(sequence)

    def fill(self, sequence: Sequence) -> BlockCopy | None:
        """Allocate the missing blocks. Returns the copy of the part-filled virtual block, if one is needed.

        Raises `OutOfBlocks`.
        """
        is_cold = not sequence.own_blocks
        sequence.block_table.extend(self._blocks.allocate() for _ in range(self.num_missing(sequence)))
        self._hold_encoder(sequence)
        num_slots = sequence.num_virtual % self._size
        if not (is_cold and num_slots):
            return None
        assert sequence.lease is not None
        return BlockCopy(sequence.lease.blocks[-1], sequence.own_blocks[0], num_slots)

    def can_fork(self, parent: Sequence) -> bool:
        """Whether there is a block for a fork's copy of the part-filled last block."""
        return bool(self._blocks.num_free) or self._num_positions(parent) % self._size == 0

    def fork(self, parent: Sequence, child: Sequence) -> BlockCopy | None:
        """Give `child`, whose tokens begin with those that `parent` has computed, the parent's blocks.

        Full blocks are shared. Returns the copy of a part-filled last one.
        """
        num_full, num_slots = divmod(self._num_positions(parent), self._size)
        child.num_computed, child.num_shared_blocks = parent.num_computed, parent.num_shared_blocks
        child.block_table = parent.block_table[:num_full]
        child.block_keys = list(parent.block_keys)
        for block in child.own_blocks:
            self._blocks.share(block)
        self._hold_encoder(child)
        if parent.prefix is not None:
            child.lease = self._residency.acquire(parent.prefix)
        if not num_slots:
            return None
        child.block_table.append(self._blocks.allocate())
        return BlockCopy(parent.block_table[num_full], child.block_table[num_full], num_slots)

    def commit(self, sequence: Sequence, num_tokens: int) -> None:
        """A step has computed tokens of a sequence: cache its full blocks."""
        index = self._num_positions(sequence) // self._size - sequence.num_virtual // self._size
        sequence.num_computed += num_tokens
        if sequence.group.encoder is not None:
            sequence.group.encoder.is_computed = True
        own = sequence.own_blocks
        while (end := self._end_of(sequence, index)) <= sequence.num_computed:
            self._blocks.register(own[index], self._key_of(sequence, index, end))
            index += 1

    def release(self, sequence: Sequence) -> None:
        """Give all blocks and the lease back."""
        self._blocks.free_all(sequence.own_blocks)
        if sequence.lease is not None:
            self._residency.release(sequence.lease)
        sequence.lease = None
        sequence.block_table, sequence.num_shared_blocks, sequence.num_computed = [], 0, 0
        if sequence.reads_encoder:
            self._leave_encoder(sequence)

    def _share_cached(self, sequence: Sequence) -> None:
        """Share cached blocks, up to the first token whose logits or hidden state are wanted."""
        limit = sequence.num_target - 1
        if sequence.next_hidden is not None:
            limit = min(limit, sequence.next_hidden)
        if sequence.next_score is not None:
            limit = min(limit, sequence.next_score - 1)
        index = 0
        while (end := self._end_of(sequence, index)) <= limit:
            block = self._blocks.find(self._key_of(sequence, index, end))
            if block is None:
                return
            self._blocks.share(block)
            sequence.block_table.append(block)
            sequence.num_computed = end
            index += 1

    def _hold_encoder(self, sequence: Sequence) -> None:
        """Let a sequence read its encoder's output. The first reader allocates the blocks."""
        encoder = sequence.group.encoder
        if encoder is None:
            return
        missing = self._num_cross(sequence) - len(encoder.block_table)
        encoder.block_table.extend(self._blocks.allocate() for _ in range(missing))
        encoder.num_readers += 1
        sequence.reads_encoder = True

    def _leave_encoder(self, sequence: Sequence) -> None:
        """A sequence reads no more. The last one frees the blocks."""
        encoder = sequence.group.encoder
        assert encoder is not None
        sequence.reads_encoder = False
        encoder.num_readers -= 1
        if encoder.num_readers == 0:
            self._blocks.free_all(encoder.block_table)
            encoder.block_table, encoder.is_computed = [], False

    def _num_cross(self, sequence: Sequence) -> int:
        encoder = sequence.group.encoder
        return 0 if encoder is None else -(-encoder.num_positions // self._size)

    def _num_total(self, sequence: Sequence) -> int:
        return -(-(sequence.num_virtual + sequence.num_target) // self._size)

    def _num_positions(self, sequence: Sequence) -> int:
        return sequence.num_virtual + sequence.num_computed

    def _end_of(self, sequence: Sequence, index: int) -> int:
        """Text tokens up to the end of the sequence's `index`-th own block."""
        return (sequence.num_virtual // self._size + index + 1) * self._size - sequence.num_virtual

    def _key_of(self, sequence: Sequence, index: int, end: int) -> bytes:
        """The key of an own block that ends with text token `end`; keys of all blocks before it are known."""
        if index + 1 == len(sequence.block_keys):
            tokens = sequence.tokens[max(0, end - self._size) : end]
            sequence.block_keys.append(chain_key(sequence.block_keys[index], tokens))
        return sequence.block_keys[index + 1]
