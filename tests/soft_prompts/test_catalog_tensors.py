"""The tensors of versions: loaded once, and let go once nothing leads to them."""

import asyncio
import threading

import pytest

from prompts_store.errors import StoreCorrupt, StoreUnavailable, TaskNotFound
from prompts_store.names import TaskReference
from tests.soft_prompts.counted_store import move, publish

PLAIN, FIRST = TaskReference.parse("sentiment"), TaskReference.parse("sentiment@1")
CANARY = TaskReference.parse("sentiment@canary")


async def test_the_same_tensors_are_loaded_once(catalog, store, counted):
    """By many requests at once, and by versions that differ only in their template."""
    publish(store)
    counted.has_read.clear()
    counted.gate.clear()
    resolving = [asyncio.create_task(catalog.resolve(PLAIN)) for _ in range(10)]
    assert await asyncio.to_thread(counted.has_read.wait, 5)
    resolving[0].cancel()  # whoever began the load may go away
    counted.gate.set()
    served = await asyncio.gather(*resolving[1:])
    assert len({id(one.parts[0].prefix) for one in served}) == 1
    publish(store, template="{input}?")
    await catalog.resolve(TaskReference.parse("sentiment@2"))
    assert counted.calls.count("load_content") == 1


@pytest.mark.parametrize("failure", ["purged", "corrupt"])
async def test_a_load_that_fails_for_one_task_answers_no_other(catalog, store, counted, failure):
    """Also where both have the same tensors: that one is purged, or cannot be read, is its own affair."""
    records = [publish(store, task) for task in ("first", "second")]
    assert records[0].prefix_digest == records[1].prefix_digest
    real, has_begun, goes_on = counted._store.load_content, threading.Event(), threading.Event()

    def load_content(fingerprint, task, *others, **options):
        if task == "first":
            has_begun.set()
            assert goes_on.wait(5)
            if failure == "corrupt":
                raise StoreCorrupt("digest mismatch")
            store.purge_task(fingerprint, task, actor="test")
        return real(fingerprint, task, *others, **options)

    counted._store.load_content = load_content
    first = asyncio.create_task(catalog.parts(records[0]))
    await asyncio.to_thread(has_begun.wait, 5)
    second = asyncio.create_task(catalog.parts(records[1]))
    await asyncio.sleep(0)
    goes_on.set()
    with pytest.raises(StoreCorrupt if failure == "corrupt" else TaskNotFound):
        await first
    assert [part.prefix.digest for part in await second] == [records[1].prefix_digest]


async def test_tensors_that_nothing_leads_to_any_more_are_let_go(catalog, store, counted, follower):
    """A version that an alias left is read again when it comes back; one that is known by its number, or that another
    task has too, is still there."""
    publish(store)
    publish(store, "twin")
    await catalog.resolve(PLAIN)
    await catalog.resolve(TaskReference.parse("twin"))
    publish(store, seed=1, promote=True)
    await follower.refresh()
    publish(store, seed=2, promote=True)
    await follower.refresh()
    counted.calls.clear()
    await catalog.resolve(FIRST)
    assert "load_content" not in counted.calls
    await catalog.resolve(TaskReference.parse("sentiment@2"))
    assert counted.calls.count("load_content") == 1
    publish(store, seed=3, promote=True)
    await follower.refresh()
    counted.calls.clear()
    await catalog.resolve(TaskReference.parse("sentiment@2"))
    assert "load_content" not in counted.calls


async def test_tensors_are_let_go_though_the_store_goes_away_before_all_is_taken_over(
    catalog, store, counted, follower
):
    """Those of a reference that was renewed before that."""
    for seed in (0, 1):
        publish(store, seed=seed)
    move(store, "canary", 2)
    await catalog.resolve(PLAIN)
    await catalog.resolve(CANARY)
    publish(store, seed=2, promote=True)
    publish(store, seed=3)
    move(store, "canary", 4)
    load = store.load_content

    def away_for_the_fourth(fingerprint, task, version, **options):
        if version == 4:
            raise StoreUnavailable("away")
        return load(fingerprint, task, version, **options)

    store.load_content = away_for_the_fourth
    with pytest.raises(StoreUnavailable):
        await follower.refresh()
    counted.calls.clear()
    await catalog.resolve(FIRST)
    assert counted.calls.count("load_content") == 1


async def test_a_moved_alias_whose_tensors_are_corrupt_is_refused_not_guessed(catalog, store, counted, follower):
    """The old version does not answer in the new one's name."""
    publish(store)
    await catalog.resolve(PLAIN)

    def corrupt(*args, **kwargs):
        raise StoreCorrupt("digest mismatch")

    store.load_content = corrupt
    publish(store, seed=1, promote=True)
    await follower.refresh()
    with pytest.raises(StoreCorrupt):
        await catalog.resolve(PLAIN)
