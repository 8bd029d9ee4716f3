"""Block tables: the blocks of a sequence, for prefixes that end within a block and on its border."""

from __future__ import annotations

import pytest

from server.engine.paged.block_manager import BlockManager
from server.engine.paged.block_tables import BlockTables
from server.engine.paged.sequence import Sequence
from server.model.kv_cache import BlockCopy
from server.model.prefix import Prefix
from server.soft_prompts.residency import PrefixResidency
from tests.engine.paged.requests import generate_group
from tests.engine.paged.scripted_runner import make_prefix

BLOCK_SIZE = 4


class Tables:
    """Block tables over real books, of which nothing has run yet."""

    def __init__(self, num_blocks: int = 40) -> None:
        self.blocks = BlockManager(num_blocks, BLOCK_SIZE)
        self.residency = PrefixResidency(self.blocks, BLOCK_SIZE, num_blocks // 2)
        self.tables = BlockTables(self.blocks, self.residency)

    def start(self, sequence: Sequence) -> BlockCopy | None:
        lease = None if sequence.prefix is None else self.residency.acquire(sequence.prefix)
        self.tables.open(sequence, lease)
        return self.tables.fill(sequence)

    def compute(self, sequence: Sequence) -> None:
        self.tables.commit(sequence, sequence.num_remaining)


def sequence_of(prefix: Prefix | None, num_tokens: int, num_choices: int = 1, salt: bytes = b"") -> Sequence:
    prompt = tuple(range(1, num_tokens + 1))
    return generate_group("r", prompt, prefix=prefix, num_choices=num_choices, salt=salt).sequences[0]


@pytest.mark.parametrize("num_virtual", [0, 1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("num_tokens", [1, 3, 4, 5, 9])
def test_a_table_covers_virtual_and_text_positions(num_virtual, num_tokens):
    """Full virtual blocks are the prefix's own; a part-filled one is copied into the sequence's first block."""
    books = Tables()
    sequence = sequence_of(make_prefix(1, num_virtual) if num_virtual else None, num_tokens)
    copy = books.start(sequence)
    assert len(sequence.block_table) == -(-(num_virtual + num_tokens) // BLOCK_SIZE)
    assert sequence.num_shared_blocks == num_virtual // BLOCK_SIZE
    if sequence.lease is not None:
        assert (
            tuple(sequence.block_table[: sequence.num_shared_blocks])
            == (sequence.lease.blocks[: sequence.num_shared_blocks])
        )
    if num_virtual % BLOCK_SIZE:
        assert sequence.lease is not None
        assert copy == BlockCopy(sequence.lease.blocks[-1], sequence.own_blocks[0], num_virtual % BLOCK_SIZE)
    else:
        assert copy is None
    assert len(sequence.own_blocks) == books.tables.num_own(sequence)
    assert books.tables.num_missing(sequence) == 0


@pytest.mark.parametrize(("num_virtual", "num_cached"), [(0, 8), (3, 9), (4, 8), (5, 7)])
def test_a_second_sequence_finds_the_full_blocks_of_the_first(num_virtual, num_cached):
    """The block that is part virtual, part text is found as a whole, and then needs no copy."""
    books = Tables()
    prefix = make_prefix(1, num_virtual) if num_virtual else None
    first, second = sequence_of(prefix, 11), sequence_of(prefix, 11)
    books.start(first)
    books.compute(first)
    copy = books.start(second)
    assert copy is None
    assert second.num_computed == num_cached
    num_equal = (num_virtual + num_cached) // BLOCK_SIZE
    assert second.block_table[:num_equal] == first.block_table[:num_equal]
    assert second.block_table[num_equal:] != first.block_table[num_equal:]


def test_what_is_not_computed_yet_is_not_found():
    books = Tables()
    first, second = sequence_of(None, 12), sequence_of(None, 12)
    books.start(first)
    books.tables.commit(first, 6)
    books.start(second)
    assert second.num_computed == 4


def test_the_first_token_whose_log_probability_is_wanted_bounds_the_cached_part():
    """A score's first row of logits is the one before its second continuation token."""
    books = Tables()
    first = sequence_of(None, 12)
    books.start(first)
    books.compute(first)
    stem = sequence_of(None, 7)
    stem.score_from = 3  # as for a prompt whose log-probabilities are wanted from its fourth token on
    books.start(stem)
    assert stem.num_computed == 0


@pytest.mark.parametrize("num_virtual", [0, 3, 4, 6])
@pytest.mark.parametrize("num_tokens", [1, 2, 4, 7])
def test_a_fork_shares_full_blocks_and_copies_a_part_filled_one(num_virtual, num_tokens):
    books = Tables()
    parent = sequence_of(make_prefix(1, num_virtual) if num_virtual else None, num_tokens, num_choices=2)
    child = parent.pending_forks[0]
    books.start(parent)
    books.compute(parent)
    copy = books.tables.fork(parent, child)
    num_full, num_slots = divmod(num_virtual + num_tokens, BLOCK_SIZE)
    assert child.block_table[:num_full] == parent.block_table[:num_full]
    assert child.num_computed == num_tokens
    assert child.lease is parent.lease
    if num_slots:
        assert copy == BlockCopy(parent.block_table[num_full], child.block_table[num_full], num_slots)
        assert books.blocks.references(child.block_table[num_full]) == 1
    else:
        assert copy is None
    for sequence in (parent, child):
        books.tables.release(sequence)
    assert books.residency.num_leases == 0
    assert books.residency.num_blocks + books.blocks.num_free == books.blocks.num_blocks


def test_a_fork_needs_a_free_block_only_for_a_part_filled_one():
    books = Tables(num_blocks=3)
    full, part = sequence_of(None, 4), sequence_of(None, 3)
    books.start(full)
    books.start(part)
    books.compute(full)
    books.compute(part)
    assert books.blocks.num_free == 0
    assert books.tables.can_fork(full)
    assert not books.tables.can_fork(part)


def test_release_gives_everything_back_and_the_sequence_can_start_again():
    books = Tables()
    sequence = sequence_of(make_prefix(1, 6), 9)
    books.start(sequence)
    books.compute(sequence)
    books.tables.release(sequence)
    assert (sequence.block_table, sequence.num_computed, sequence.lease) == ([], 0, None)
    assert books.residency.num_leases == 0
    books.start(sequence)
    assert sequence.num_computed == 6  # 6 virtual tokens and 6 of text fill three blocks
