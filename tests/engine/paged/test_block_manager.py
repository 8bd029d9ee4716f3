"""Reference counts of blocks, and which of them are found and forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.paged.block_manager import BlockManager, OutOfBlocks, chain_key, chain_root
from tests.engine.paged.scripted_runner import make_prefix


def test_the_padding_block_is_never_handed_out():
    blocks = BlockManager(5, 4)
    assert sorted(blocks.allocate() for _ in range(4)) == [1, 2, 3, 4]
    assert blocks.num_blocks == 4


def test_without_a_free_block_allocation_says_so():
    blocks = BlockManager(2, 4)
    blocks.allocate()
    with pytest.raises(OutOfBlocks):
        blocks.allocate()


def test_a_shared_block_is_free_once_nobody_holds_it():
    blocks = BlockManager(3, 4)
    block = blocks.allocate()
    blocks.share(block)
    blocks.free(block)
    assert blocks.references(block) == 1
    assert blocks.num_free == 1
    blocks.free(block)
    assert blocks.num_free == 2
    blocks.check()


def test_freeing_twice_is_a_mistake_of_ours():
    blocks = BlockManager(3, 4)
    block = blocks.allocate()
    blocks.free(block)
    with pytest.raises(AssertionError, match="freed twice"):
        blocks.free(block)


def test_a_free_block_is_found_until_it_is_handed_out_again():
    blocks = BlockManager(2, 4)
    block = blocks.allocate()
    blocks.register(block, b"key")
    blocks.free(block)
    assert blocks.find(b"key") == block
    assert blocks.allocate() == block
    assert blocks.find(b"key") is None


def test_sharing_a_free_cached_block_takes_it_from_the_free_ones():
    blocks = BlockManager(2, 4)
    block = blocks.allocate()
    blocks.register(block, b"key")
    blocks.free(block)
    blocks.share(block)
    assert blocks.num_free == 0
    blocks.check()


def test_blocks_that_nobody_can_find_go_first_then_the_longest_unused():
    blocks = BlockManager(5, 4)
    first, second, unknown, last = (blocks.allocate() for _ in range(4))
    for block in (first, second, last):
        blocks.register(block, str(block).encode())
    for block in (second, first, last, unknown):
        blocks.free(block)
    assert [blocks.allocate() for _ in range(4)] == [unknown, second, first, last]


def test_a_chain_loses_its_tail_before_its_head():
    blocks = BlockManager(4, 4)
    chain = [blocks.allocate() for _ in range(3)]
    for block in chain:
        blocks.register(block, str(block).encode())
    blocks.free_all(chain)
    assert [blocks.allocate() for _ in range(3)] == chain[::-1]


def test_of_two_blocks_with_equal_content_the_first_stays_known():
    blocks = BlockManager(4, 4)
    first, second = blocks.allocate(), blocks.allocate()
    blocks.register(first, b"key")
    blocks.register(second, b"key")
    assert blocks.find(b"key") == first
    blocks.free(second)
    assert blocks.find(b"key") == first
    blocks.check()


def test_a_forgotten_block_is_not_found_and_its_key_can_be_registered_anew():
    blocks = BlockManager(4, 4)
    first, second = blocks.allocate(), blocks.allocate()
    blocks.register(first, b"key")
    blocks.forget(first)
    assert blocks.find(b"key") is None
    blocks.register(second, b"key")
    assert blocks.find(b"key") == second
    blocks.check()


def test_chains_differ_by_prefix_salt_tokens_and_what_came_before():
    roots = [
        chain_root(prefix, salt) for prefix in (None, make_prefix(1, 4), make_prefix(2, 4)) for salt in (b"", b"s")
    ]
    keys = [chain_key(root, tokens) for root in roots for tokens in ([1, 2], [2, 1], [1, 2, 3], [1], [256])]
    keys += [chain_key(key, [1, 2]) for key in keys]
    assert len({*roots, *keys}) == len(roots) + len(keys)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["allocate", "share", "free", "register", "forget"]), st.integers(0, 9))))
def test_any_order_of_calls_keeps_the_books(calls):
    """The counts equal those of a plain model, and a found block is one that was registered under the key."""
    blocks = BlockManager(6, 4)
    held: list[int] = []
    for name, number in calls:
        if name == "allocate":
            if len(set(held)) == 5:
                with pytest.raises(OutOfBlocks):
                    blocks.allocate()
            else:
                held.append(blocks.allocate())
        elif name == "register" and held:
            blocks.register(held[number % len(held)], bytes([number]))
        elif name == "forget" and held:
            blocks.forget(held[number % len(held)])
        elif name == "free" and held:
            blocks.free(held.pop(number % len(held)))
        elif name == "share" and (block := blocks.find(bytes([number]))) is not None:
            blocks.share(block)
            held.append(block)
        blocks.check()
        assert blocks.num_free == 5 - len(set(held))
        assert all(blocks.references(block) == held.count(block) for block in range(1, 6))
