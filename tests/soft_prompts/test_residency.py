"""Which prefixes are in the cache: leases, the budget, and who leaves first."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.paged.block_manager import BlockManager
from server.model.prefix import Prefix, PrefixKind
from server.soft_prompts.residency import PrefixResidency, ResidentPrefix


def prefix(number: int, num_virtual_tokens: int = 8) -> Prefix:
    return Prefix(f"{number:064x}", PrefixKind.EMBEDDINGS, torch.zeros(num_virtual_tokens, 1))


class Books:
    """A residency over blocks of four tokens."""

    def __init__(self, num_blocks: int = 20, max_blocks: int = 6) -> None:
        self.blocks = BlockManager(num_blocks + 1, 4)
        self.residency = PrefixResidency(self.blocks, 4, max_blocks)

    def load(self) -> None:
        for entry in self.residency.take_pending():
            self.residency.mark_loaded(entry)

    def lease(self, wanted: Prefix) -> ResidentPrefix:
        entry = self.residency.acquire(wanted)
        assert entry is not None
        self.load()
        return entry

    def use(self, *wanted: Prefix) -> None:
        for one in wanted:
            self.residency.release(self.lease(one))


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.mark.parametrize(("num_virtual", "num_blocks"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_a_prefix_takes_whole_blocks(books, num_virtual, num_blocks):
    entry = books.lease(prefix(1, num_virtual))
    assert len(entry.blocks) == num_blocks == books.residency.num_blocks
    assert books.blocks.num_free == 20 - num_blocks


def test_equal_digests_share_one_entry(books):
    first, second = books.lease(prefix(1)), books.lease(prefix(1))
    assert first is second
    assert first.num_leases == 2
    assert books.residency.num_loads == 1


def test_a_new_prefix_is_to_be_loaded_once(books):
    entry = books.residency.acquire(prefix(1))
    books.residency.acquire(prefix(1))
    assert books.residency.take_pending() == (entry,)
    assert books.residency.take_pending() == ()


def test_a_prefix_that_nobody_holds_stays_until_room_is_needed(books):
    books.use(prefix(1))
    assert books.residency.num_load_tokens(prefix(1)) == 0
    assert books.residency.num_idle_blocks == 2
    assert books.residency.evict_idle()
    assert books.residency.num_load_tokens(prefix(1))
    assert books.blocks.num_free == 20
    assert not books.residency.evict_idle()


def test_the_least_recently_used_idle_prefix_leaves_first(books):
    books.use(prefix(1), prefix(2), prefix(3))
    books.use(prefix(1))
    books.use(prefix(4))
    missing = [books.residency.num_load_tokens(prefix(number)) > 0 for number in (1, 2, 3, 4)]
    assert missing == [False, True, False, False]


def test_a_leased_prefix_never_leaves(books):
    entry = books.lease(prefix(1))
    books.use(prefix(2), prefix(3), prefix(4), prefix(5))
    assert books.residency.holds(entry)
    books.residency.release(entry)


def test_leased_prefixes_that_fill_the_budget_keep_others_out(books):
    entries = [books.lease(prefix(number)) for number in range(3)]
    assert not books.residency.can_admit(prefix(9))
    assert books.residency.acquire(prefix(9)) is None
    books.residency.release(entries[1])
    assert books.residency.can_admit(prefix(9))
    assert books.residency.acquire(prefix(9)) is not None
    assert books.residency.num_load_tokens(prefix(1))


def test_a_resident_prefix_is_admitted_whatever_the_budget_says(books):
    for number in range(3):
        books.lease(prefix(number))
    assert books.residency.can_admit(prefix(2))
    assert books.residency.acquire(prefix(2)) is not None


def test_without_free_blocks_nothing_enters_though_the_budget_allows_it():
    books = Books(num_blocks=3)
    for _ in range(2):
        books.blocks.allocate()
    assert books.residency.can_admit(prefix(1))
    assert books.residency.acquire(prefix(1)) is None
    assert books.blocks.num_free == 1
    assert books.residency.num_resident == 0


def test_idle_prefixes_make_room_among_the_blocks_too():
    books = Books(num_blocks=4, max_blocks=4)
    books.use(prefix(1), prefix(2))
    assert books.blocks.num_free == 0
    assert books.residency.acquire(prefix(3)) is not None
    assert books.residency.num_load_tokens(prefix(1))
    assert books.residency.num_load_tokens(prefix(2)) == 0


def test_a_prefix_still_to_be_loaded_is_not_idle(books):
    """A planned load writes into its blocks: they must not be handed to another."""
    entry = books.residency.acquire(prefix(1))
    books.residency.release(entry)
    assert not books.residency.evict_idle()
    books.load()
    assert books.residency.evict_idle()


def test_a_prefix_that_did_not_load_is_dropped_and_can_come_again(books):
    entry = books.residency.acquire(prefix(1))
    assert books.residency.take_pending() == (entry,)
    books.residency.release(entry)
    books.residency.discard(entry)
    assert books.blocks.num_free == 20
    again = books.lease(prefix(1))
    assert again is not entry
    assert not books.residency.holds(entry)


def test_dropping_a_leased_prefix_is_a_mistake_of_ours(books):
    entry = books.lease(prefix(1))
    with pytest.raises(AssertionError, match="leased"):
        books.residency.discard(entry)


def test_closing_a_lease_twice_is_a_mistake_of_ours(books):
    entry = books.lease(prefix(1))
    books.residency.release(entry)
    with pytest.raises(AssertionError, match="closed twice"):
        books.residency.release(entry)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["acquire", "acquire", "release", "evict", "load"]), st.integers(0, 5))))
def test_any_order_of_calls_keeps_the_budget_and_the_blocks(calls):
    """Leases are counted exactly, blocks belong to one prefix each, and nothing is lost."""
    books = Books(num_blocks=12)
    held: list[ResidentPrefix] = []
    for name, number in calls:
        if name == "acquire":
            entry = books.residency.acquire(prefix(number, 1 + 2 * number))
            assert (entry is None) or entry.prefix.digest == prefix(number).digest
            if entry is not None:
                held.append(entry)
        elif name == "release" and held:
            books.residency.release(held.pop(number % len(held)))
        elif name == "evict":
            books.residency.evict_idle()
        elif name == "load":
            books.load()
        assert books.residency.num_blocks <= 6
        assert books.residency.num_blocks + books.blocks.num_free == 12
        assert books.residency.num_leases == len(held)
        assert all(entry.num_leases == count for entry, count in Counter(held).items())
        assert all(books.residency.holds(entry) for entry in held)
        blocks = [block for entry in books.residency._resident.values() for block in entry.blocks]
        assert len(set(blocks)) == len(blocks)
        books.blocks.check()
