"""From a reference to a version: looked up, known, and resolved again with the store's changes."""

import asyncio

import pytest
import torch

from prompts_store.errors import AliasNotFound, StoreUnavailable, TaskNotFound, VersionNotFound
from prompts_store.names import TaskReference
from server.model.prefix import PrefixKind
from server.soft_prompts.catalog import TaskCatalog
from tests.fakes.checkpoints import BASE
from tests.soft_prompts.counted_store import move, publish

PLAIN, FIRST = TaskReference.parse("sentiment"), TaskReference.parse("sentiment@1")


async def test_a_reference_means_a_version_and_its_tensors(catalog, store):
    """Bare, by number or by alias; the tensors are those published."""
    version = publish(store)
    for text in ("sentiment", "sentiment@1", "sentiment@production"):
        served = await catalog.resolve(TaskReference.parse(text))
        assert served.record.version == 1
        assert served.parts[0].prefix.digest == version.prefix_digest
        assert served.parts[0].prefix.kind is PrefixKind.EMBEDDINGS
        assert served.parts[0].prefix.tensor.shape == (4, BASE.hidden_size)
        assert served.parts[0].prefix.tensor.dtype == torch.float32


async def test_what_is_known_is_answered_from_memory(catalog, store, counted, follower):
    """A second request asks nobody."""
    publish(store)
    await follower.refresh()
    await catalog.resolve(PLAIN)
    counted.calls.clear()
    await catalog.resolve(PLAIN)
    assert not {"resolve_all", "load_content"} & set(counted.calls)


async def test_an_unknown_name_is_looked_up_before_it_is_refused(catalog, store, follower):
    """Another replica may have published it a moment ago."""
    for text, error in (("x", TaskNotFound), ("sentiment@9", TaskNotFound)):
        with pytest.raises(error):
            await catalog.resolve(TaskReference.parse(text))
    publish(store)
    await follower.refresh()
    for text, error in (("sentiment@9", VersionNotFound), ("sentiment@canary", AliasNotFound)):
        with pytest.raises(error):
            await catalog.resolve(TaskReference.parse(text))
    assert (await catalog.resolve(PLAIN)).record.version == 1


async def test_a_flood_of_an_unknown_name_does_not_reach_the_store(catalog, store, counted, follower):
    """Not at once, not one after the other, and in no version of the task; who creates the name ends it."""
    await follower.refresh()
    counted.calls.clear()
    unknown = [TaskReference.parse(text) for text in ("x", "x@3", "x@canary")]
    answers = await asyncio.gather(*[catalog.resolve(unknown[0]) for _ in range(100)], return_exceptions=True)
    assert {type(answer) for answer in answers} == {TaskNotFound}
    for reference in unknown * 20:
        with pytest.raises(TaskNotFound):
            await catalog.resolve(reference)
    assert counted.calls.count("resolve_all") == 1
    publish(store, "x")
    await follower.refresh()
    assert (await catalog.resolve(unknown[0])).record.version == 1


async def test_a_weighted_alias_chooses_for_each_request(catalog, store, follower):
    """The same key is answered by the same version; without a key both answer; all tensors can be had."""
    for seed in (0, 1):
        publish(store, seed=seed)
    move(store, "production", 1, 2)
    await follower.refresh()
    keyed = {key: await catalog.resolve(PLAIN, b"%d" % key) for key in range(40)}
    assert {served.record.version for served in keyed.values()} == {1, 2}
    for key, served in keyed.items():
        assert (await catalog.resolve(PLAIN, b"%d" % key)).record.version == served.record.version
        assert served.parts[0].prefix.digest == served.record.prefix_digest
    assert {(await catalog.resolve(PLAIN)).record.version for _ in range(40)} == {1, 2}


async def test_changes_made_elsewhere_are_followed(catalog, store, follower):
    """A moved alias, a retired version and a deleted task."""
    publish(store)
    running = await catalog.resolve(PLAIN)
    publish(store, seed=1, promote=True)
    await follower.refresh()
    moved = await catalog.resolve(PLAIN)
    assert moved.record.version == 2
    assert moved.parts[0].prefix.digest != running.parts[0].prefix.digest
    assert running.record.version == 1  # who resolved before keeps what it has
    await catalog.resolve(FIRST)
    store.retire_version(BASE.fingerprint, "sentiment", 1)
    await follower.refresh()
    with pytest.raises(VersionNotFound):
        await catalog.resolve(FIRST)
    store.delete_task(BASE.fingerprint, "sentiment")
    await follower.refresh()
    with pytest.raises(TaskNotFound):
        await catalog.resolve(PLAIN)


async def test_while_the_store_is_away_every_version_of_a_weighted_alias_answers(catalog, store, counted, follower):
    """Also one that nobody was answered by before."""
    for seed in (0, 1):
        publish(store, seed=seed)
    move(store, "production", 1, 2)
    await follower.refresh()
    await catalog.resolve(PLAIN)
    counted.failure = StoreUnavailable("away")
    assert {(await catalog.resolve(PLAIN, b"%d" % key)).record.version for key in range(40)} == {1, 2}


async def test_while_the_store_is_away_known_tasks_answer(catalog, store, counted, follower):
    """Unknown ones cannot; afterwards what was missed is taken over."""
    publish(store)
    await catalog.resolve(PLAIN)
    counted.failure = StoreUnavailable("away")
    publish(store, seed=1, promote=True)
    await follower.follow_once()
    assert (await catalog.resolve(PLAIN)).record.version == 1
    with pytest.raises(StoreUnavailable):
        await catalog.resolve(FIRST)
    counted.failure = None
    await follower.follow_once()
    assert (await catalog.resolve(PLAIN)).record.version == 2


async def test_while_the_store_is_away_only_four_look_ups_wait_for_it(catalog, counted, follower):
    """The fifth is refused at once."""
    counted.failure = StoreUnavailable("away")
    await follower.follow_once()
    counted.failure = None
    counted.gate.clear()
    waiting = [asyncio.create_task(catalog.resolve(TaskReference.parse(f"t{number}"))) for number in range(4)]
    assert await asyncio.to_thread(counted.has_read.wait, 5)
    with pytest.raises(StoreUnavailable):
        await catalog.resolve(TaskReference.parse("t4"))
    counted.gate.set()
    assert {type(answer) for answer in await asyncio.gather(*waiting, return_exceptions=True)} == {TaskNotFound}


async def test_what_could_not_be_read_again_is_read_the_next_time(catalog, store, counted, follower):
    """The change is noted by then and no other one comes; what was known answers meanwhile."""
    publish(store)
    await catalog.resolve(PLAIN)
    publish(store, seed=1, promote=True)
    catalog.note(store.changes_since(0, 10))
    counted.failure = KeyError("not an error of the store's")
    with pytest.raises(KeyError):
        await catalog.catch_up()
    assert (await catalog.resolve(PLAIN)).record.version == 1
    counted.failure = None
    await catalog.catch_up()
    assert (await catalog.resolve(PLAIN)).record.version == 2


async def test_a_reference_touched_again_while_it_is_read_is_read_again(catalog, store, counted):
    """The first reading does not count as one of the second change."""
    publish(store)
    publish(store, seed=1)
    await catalog.resolve(PLAIN)
    move(store, "production", 2)
    catalog.note(store.changes_since(0, 10))
    counted.has_read.clear()
    counted.gate.clear()
    catching_up = asyncio.create_task(catalog.catch_up())
    assert await asyncio.to_thread(counted.has_read.wait, 5)
    revision = store.revision()
    move(store, "production", 1)
    catalog.note(store.changes_since(revision, 10))
    counted.gate.set()
    await catching_up
    assert (await catalog.resolve(PLAIN)).record.version == 1


async def test_a_task_deleted_while_it_is_read_again_is_forgotten_once(catalog, store):
    """Both changes are noted, and the second finds nothing left to read."""
    publish(store)
    await catalog.resolve(PLAIN)
    store.delete_task(BASE.fingerprint, "sentiment")
    changes = store.changes_since(0, 10)
    catalog.note(changes)
    catching_up = asyncio.create_task(catalog.catch_up())
    await asyncio.sleep(0)
    catalog.note(changes)
    await catching_up
    with pytest.raises(TaskNotFound):
        await catalog.resolve(PLAIN)


async def test_nothing_is_remembered_before_the_store_is_followed(store, counted, follower):
    """What was resolved before the first round that reached the store cannot be wrong after it."""
    publish(store)
    catalog = TaskCatalog(counted, BASE, follower)
    follower.subscribe(catalog)
    counted.failure = StoreUnavailable("away")
    await follower.follow_once()
    counted.failure = None
    assert (await catalog.resolve(PLAIN)).record.version == 1
    publish(store, seed=1, promote=True)
    assert (await catalog.resolve(PLAIN)).record.version == 2
    await follower.follow_once()
    counted.calls.clear()
    for _ in range(2):
        assert (await catalog.resolve(PLAIN)).record.version == 2
    assert counted.calls.count("resolve_all") == 1
    catalog.close()


async def test_a_look_up_overtaken_by_a_change_is_done_again(catalog, store, counted):
    """What was read before the change is neither answered nor remembered."""
    publish(store)
    counted.has_read.clear()
    counted.gate.clear()
    slow = asyncio.create_task(catalog.resolve(PLAIN))
    assert await asyncio.to_thread(counted.has_read.wait, 5)
    publish(store, seed=1, promote=True)
    catalog.note(store.changes_since(0, 10))  # while the look-up still holds the old state
    counted.gate.set()
    assert (await slow).record.version == 2
    assert (await catalog.resolve(PLAIN)).record.version == 2
