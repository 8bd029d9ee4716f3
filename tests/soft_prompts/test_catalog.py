import asyncio
import shutil
import threading

import pytest
import torch

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.errors import AliasNotFound, StoreCorrupt, StoreUnavailable, TaskNotFound, VersionNotFound
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import AliasTarget
from prompts_store.store import Store
from server.model.prefix import Prefix, PrefixKind
from server.soft_prompts.catalog import TaskCatalog
from server.soft_prompts.prefix_cache import PrefixCache
from tests.fakes.checkpoints import BASE, prompt_tuning_files

PLAIN, FIRST = TaskReference.parse("sentiment"), TaskReference.parse("sentiment@1")
CANARY = TaskReference.parse("sentiment@canary")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "empty.db"
    Store.open(f"sqlite:///{path}").close()
    return path


class CountedStore:
    """A store that counts its reads, and can be away, slow or corrupt."""

    def __init__(self, store):
        self._store = store
        self.calls = []
        self.failure = None
        self.gate = threading.Event()
        self.gate.set()

    def __getattr__(self, name):
        operation = getattr(self._store, name)

        def counted(*args, **kwargs):
            self.calls.append(name)
            if self.failure is not None:
                raise self.failure
            result = operation(*args, **kwargs)
            assert self.gate.wait(5)
            return result

        return counted


@pytest.fixture
def store(empty_database, tmp_path):
    path = shutil.copy(empty_database, tmp_path / "prompts.db")
    with Store.open(f"sqlite:///{path}") as store:
        yield store


@pytest.fixture
def counted(store):
    return CountedStore(store)


@pytest.fixture
async def catalog(counted):
    catalog = TaskCatalog(counted, BASE, poll_interval_s=0.01)
    async with catalog.following():
        yield catalog


def publish(store, task="sentiment", *, seed=0, promote=False, **manifest):
    files = prompt_tuning_files(seed=seed)
    checkpoint = read_checkpoint(
        *files.values(), BASE, task_index=None, allow_base_mismatch=False, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES
    )
    return store.publish(task, checkpoint, Manifest(**manifest), promote=promote).version


def move(store, alias, *versions):
    targets = [AliasTarget(version, 100 // len(versions)) for version in versions]
    store.put_alias(BASE.fingerprint, "sentiment", alias, targets, if_match=None, must_not_exist=False)


async def test_a_reference_means_a_version_and_its_tensors(catalog, store):
    """Bare, by number or by alias; the tensors are those published."""
    version = publish(store)
    for text in ("sentiment", "sentiment@1", "sentiment@production"):
        served = await catalog.resolve(TaskReference.parse(text))
        assert served.record.version == 1
        assert served.prefixes[0].digest == version.prefix_digest
        assert served.prefixes[0].kind is PrefixKind.EMBEDDINGS
        assert served.prefixes[0].tensor.shape == (4, BASE.hidden_size)
        assert served.prefixes[0].tensor.dtype == torch.float32


async def test_what_is_known_is_answered_from_memory(catalog, store, counted):
    """A second request asks nobody."""
    publish(store)
    await catalog.refresh()
    await catalog.resolve(PLAIN)
    counted.calls.clear()
    await catalog.resolve(PLAIN)
    assert not {"resolve_all", "load_content"} & set(counted.calls)


async def test_an_unknown_name_is_looked_up_before_it_is_refused(catalog, store):
    """Another replica may have published it a moment ago."""
    for text, error in (("x", TaskNotFound), ("sentiment@9", TaskNotFound)):
        with pytest.raises(error):
            await catalog.resolve(TaskReference.parse(text))
    publish(store)
    await catalog.refresh()
    for text, error in (("sentiment@9", VersionNotFound), ("sentiment@canary", AliasNotFound)):
        with pytest.raises(error):
            await catalog.resolve(TaskReference.parse(text))
    assert (await catalog.resolve(PLAIN)).record.version == 1


async def test_a_flood_of_an_unknown_name_does_not_reach_the_store(catalog, store, counted):
    """Not at once, not one after the other, and in no version of the task; who creates the name ends it."""
    await catalog.refresh()
    counted.calls.clear()
    unknown = [TaskReference.parse(text) for text in ("x", "x@3", "x@canary")]
    answers = await asyncio.gather(*[catalog.resolve(unknown[0]) for _ in range(100)], return_exceptions=True)
    assert {type(answer) for answer in answers} == {TaskNotFound}
    for reference in unknown * 20:
        with pytest.raises(TaskNotFound):
            await catalog.resolve(reference)
    assert counted.calls.count("resolve_all") == 1
    publish(store, "x")
    await asyncio.sleep(0.2)  # well below the time that a missing name is remembered
    assert (await catalog.resolve(unknown[0])).record.version == 1


async def test_a_weighted_alias_chooses_for_each_request(catalog, store):
    """The same key is answered by the same version; without a key both answer; all tensors can be had."""
    for seed in (0, 1):
        publish(store, seed=seed)
    move(store, "production", 1, 2)
    await catalog.refresh()
    keyed = {key: await catalog.resolve(PLAIN, b"%d" % key) for key in range(40)}
    assert {served.record.version for served in keyed.values()} == {1, 2}
    for key, served in keyed.items():
        assert (await catalog.resolve(PLAIN, b"%d" % key)).record.version == served.record.version
        assert served.prefixes[0].digest == served.record.prefix_digest
    assert {(await catalog.resolve(PLAIN)).record.version for _ in range(40)} == {1, 2}


async def test_the_age_of_the_last_state_seen_grows_while_the_store_is_away(catalog, counted):
    """And is small again once it is back."""
    await asyncio.sleep(0.05)
    assert catalog.state_age_s < 5
    counted.failure = StoreUnavailable("away")
    while catalog.store_is_reachable:
        await asyncio.sleep(0.005)
    before = catalog.state_age_s
    await asyncio.sleep(0.1)
    assert catalog.state_age_s >= before + 0.1
    counted.failure = None
    while not catalog.store_is_reachable:
        await asyncio.sleep(0.005)
    assert catalog.state_age_s < before + 0.1


async def test_changes_made_elsewhere_are_followed(catalog, store):
    """A moved alias, a retired version and a deleted task, within a few polls."""
    publish(store)
    running = await catalog.resolve(PLAIN)
    publish(store, seed=1, promote=True)
    while (moved := await catalog.resolve(PLAIN)).record.version == 1:
        await asyncio.sleep(0.005)
    assert moved.prefixes[0].digest != running.prefixes[0].digest
    assert running.record.version == 1  # who resolved before keeps what it has
    await catalog.resolve(FIRST)
    store.retire_version(BASE.fingerprint, "sentiment", 1)
    with pytest.raises(VersionNotFound):
        while await catalog.resolve(FIRST):
            await asyncio.sleep(0.005)
    store.delete_task(BASE.fingerprint, "sentiment")
    with pytest.raises(TaskNotFound):
        while await catalog.resolve(PLAIN):
            await asyncio.sleep(0.005)


async def test_ones_own_writes_count_at_once(store):
    """After `refresh`, without waiting for a poll."""
    catalog = TaskCatalog(store, BASE, poll_interval_s=1)
    async with catalog.following():
        publish(store)
        assert (await catalog.resolve(PLAIN)).record.version == 1
        publish(store, seed=1, promote=True)
        await catalog.refresh()
        assert (await catalog.resolve(PLAIN)).record.version == 2


async def test_the_same_tensors_are_loaded_once(catalog, store, counted):
    """By many requests at once, and by versions that differ only in their template."""
    publish(store)
    counted.gate.clear()
    resolving = [asyncio.create_task(catalog.resolve(PLAIN)) for _ in range(10)]
    await asyncio.sleep(0.02)
    resolving[0].cancel()  # whoever began the load may go away
    counted.gate.set()
    served = await asyncio.gather(*resolving[1:])
    assert len({id(one.prefixes[0]) for one in served}) == 1
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
    first = asyncio.create_task(catalog.prefixes(records[0]))
    await asyncio.to_thread(has_begun.wait, 5)
    second = asyncio.create_task(catalog.prefixes(records[1]))
    await asyncio.sleep(0)
    goes_on.set()
    with pytest.raises(StoreCorrupt if failure == "corrupt" else TaskNotFound):
        await first
    assert [prefix.digest for prefix in await second] == [records[1].prefix_digest]


async def test_tensors_that_nothing_leads_to_any_more_are_let_go(catalog, store, counted):
    """A version that an alias left is read again when it comes back; one that is known by its number, or that another
    task has too, is still there."""
    publish(store)
    publish(store, "twin")
    await catalog.resolve(PLAIN)
    await catalog.resolve(TaskReference.parse("twin"))
    publish(store, seed=1, promote=True)
    await catalog.refresh()
    publish(store, seed=2, promote=True)
    await catalog.refresh()
    counted.calls.clear()
    await catalog.resolve(FIRST)
    assert "load_content" not in counted.calls
    await catalog.resolve(TaskReference.parse("sentiment@2"))
    assert counted.calls.count("load_content") == 1
    publish(store, seed=3, promote=True)
    await catalog.refresh()
    counted.calls.clear()
    await catalog.resolve(TaskReference.parse("sentiment@2"))
    assert "load_content" not in counted.calls


async def test_tensors_are_let_go_though_the_store_goes_away_before_all_is_taken_over(store, counted):
    """Those of a reference that was renewed before that."""
    catalog = TaskCatalog(counted, BASE)
    await catalog.refresh()
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
        await catalog.refresh()
    counted.calls.clear()
    await catalog.resolve(FIRST)
    assert counted.calls.count("load_content") == 1


async def test_while_the_store_is_away_every_version_of_a_weighted_alias_answers(catalog, store, counted):
    """Also one that nobody was answered by before."""
    for seed in (0, 1):
        publish(store, seed=seed)
    move(store, "production", 1, 2)
    await catalog.refresh()
    await catalog.resolve(PLAIN)
    counted.failure = StoreUnavailable("away")
    assert {(await catalog.resolve(PLAIN, b"%d" % key)).record.version for key in range(40)} == {1, 2}


async def test_while_the_store_is_away_known_tasks_answer(catalog, store, counted):
    """Unknown ones cannot; afterwards what was missed is taken over."""
    publish(store)
    await catalog.resolve(PLAIN)
    counted.failure = StoreUnavailable("away")
    publish(store, seed=1, promote=True)
    while catalog.store_is_reachable:
        await asyncio.sleep(0.005)
    assert catalog.is_following
    assert (await catalog.resolve(PLAIN)).record.version == 1
    with pytest.raises(StoreUnavailable):
        await catalog.resolve(FIRST)
    counted.failure = None
    while not catalog.store_is_reachable:  # said at the end of the round that has taken everything over
        await asyncio.sleep(0.005)
    assert (await catalog.resolve(PLAIN)).record.version == 2


async def test_the_follower_outlives_what_nobody_foresaw(catalog, store, counted):
    """One round that raises anything is logged; the next goes on, and what was known answers meanwhile."""
    publish(store)
    await catalog.resolve(PLAIN)
    counted.failure = KeyError("not an error of the store's")
    publish(store, seed=1, promote=True)
    while catalog.store_is_reachable:
        await asyncio.sleep(0.005)
    assert (await catalog.resolve(PLAIN)).record.version == 1
    counted.failure = None
    while (await catalog.resolve(PLAIN)).record.version == 1:
        await asyncio.sleep(0.005)
    assert catalog.is_following


async def test_the_follower_outlives_a_wait_that_fails(catalog, store, counted):
    """Without waiting it looks as often as it may wait."""
    publish(store)
    await catalog.resolve(PLAIN)

    def wait_for_changes(*_):
        raise RuntimeError("what nobody foresaw")

    counted.wait_for_changes = wait_for_changes
    for seed in (1, 2):
        publish(store, seed=seed, promote=True)
        while (await catalog.resolve(PLAIN)).record.version == seed:
            await asyncio.sleep(0.005)
    assert catalog.is_following


async def test_a_start_without_the_store_catches_up(store, counted):
    """What was resolved before the first successful poll is not remembered wrongly."""
    publish(store)
    counted.failure = StoreUnavailable("away")
    catalog = TaskCatalog(counted, BASE, poll_interval_s=0.01)
    async with catalog.following():
        assert not catalog.store_is_reachable
        counted.failure = None
        assert (await catalog.resolve(PLAIN)).record.version == 1
        publish(store, seed=1, promote=True)
        while (await catalog.resolve(PLAIN)).record.version == 1:
            await asyncio.sleep(0.005)


async def test_a_look_up_overtaken_by_a_change_is_done_again(catalog, store, counted):
    """What was read before the change is neither answered nor remembered."""
    publish(store)
    counted.gate.clear()
    slow = asyncio.create_task(catalog.resolve(PLAIN))
    while "resolve_all" not in counted.calls:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    publish(store, seed=1, promote=True)
    catalog._seen = store.revision()  # the follower has seen the change, while the look-up still holds the old state
    counted.gate.set()
    assert (await slow).record.version == 2
    assert (await catalog.resolve(PLAIN)).record.version == 2


async def test_a_moved_alias_whose_tensors_are_corrupt_is_refused_not_guessed(catalog, store, counted):
    """The old version does not answer in the new one's name."""
    publish(store)
    await catalog.resolve(PLAIN)
    broken = StoreCorrupt("digest mismatch")
    real = counted._store.load_content
    counted._store.load_content = lambda *args, **kwargs: (_ for _ in ()).throw(broken)
    publish(store, seed=1, promote=True)
    with pytest.raises(StoreCorrupt):
        while (await catalog.resolve(PLAIN)).record.version == 1:
            await asyncio.sleep(0.005)
    counted._store.load_content = real


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
