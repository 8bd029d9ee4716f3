"""Batches in the store: who works on one, what of its lines is kept, and what becomes of its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prompts_store import maintenance
from prompts_store.batch_errors import BatchClaimLost, BatchNotFound, BatchQueueFull, BatchStatusConflict
from prompts_store.batch_records import BatchClaim, BatchFault, BatchRecord, BatchStatus, LineResult, NewBatch
from prompts_store.batch_store import BatchStore
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from prompts_store.tuning_errors import FileInUse, FileNotFound
from prompts_store.tuning_records import FileAccess
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.golden_store import claimed_batch

F = BASE.fingerprint
LATER = datetime(2999, 1, 1, tzinfo=UTC)
HOPELESS = BatchFault("server_stopped", "one server after another stopped")

Create = Callable[..., BatchRecord]


@pytest.fixture
def batches(store: Store) -> BatchStore:
    return BatchStore(store)


@pytest.fixture
def create(store: Store, batches: BatchStore) -> Create:
    tuning = TuningStore(store)

    def create(owner: str = "key:ci", expires_at: datetime = LATER, **options: Any) -> BatchRecord:
        file = tuning.add_file("in.jsonl", "batch", [b"line\n"], actor=owner)
        batch = NewBatch(F, owner, "/v1/completions", file.id, "24h", expires_at, {})
        return batches.create(batch, max_unfinished=options.pop("max_unfinished", 9), **options)

    return create


def begun(batches: BatchStore, num_lines: int = 3, tasks: tuple[str, ...] = ()) -> BatchClaim:
    claim, _ = claimed_batch(batches.claim(F, "a"))
    batches.accept(claim, num_lines, tasks)
    return claim


def test_files_are_in_the_order_of_the_lines(store: Store, batches: BatchStore, create: Create) -> None:
    """Results come in any order; a second result of a line is ignored; the rows go with the end."""
    create()
    claim = begun(batches)
    batches.keep(claim, [LineResult(3, "three"), LineResult(1, "one")])
    batches.keep(claim, [LineResult(1, "again"), LineResult(2, "two", is_error=True)])
    assert batches.done(claim) == {1, 2, 3}
    batches.begin_files(claim)
    batches.end(claim, BatchStatus.COMPLETED)
    done = batches.get(F, claim.batch_id)
    assert (done.status, done.num_answered, done.num_failed, done.claimed_by) == ("completed", 2, 1, None)
    files = TuningStore(store)
    assert done.output_file is not None and done.error_file is not None
    assert files.load_file(done.output_file) == b"one\nthree\n"
    assert files.load_file(done.error_file) == b"two\n"
    assert files.get_file(done.error_file).created_by == "key:ci"
    assert maintenance.verify(store).is_clean


def test_files_of_many_lines_are_whole(store: Store, batches: BatchStore, create: Create) -> None:
    """More rows than a page and more bytes than a chunk."""
    create()
    claim = begun(batches, 1_200)
    batches.keep(claim, [LineResult(number, f"{number}" + "x" * 2_000) for number in range(1_200, 0, -1)])
    batches.end(claim, BatchStatus.COMPLETED)
    output = batches.get(F, claim.batch_id).output_file
    assert output is not None
    lines = TuningStore(store).load_file(output).decode().splitlines()
    assert [int(line.rstrip("x")) for line in lines] == list(range(1, 1_201))


def test_lines_that_never_ran_are_errors_but_no_failures(store: Store, batches: BatchStore, create: Create) -> None:
    """They are in the error file, and in none of the counts."""
    create()
    claim = begun(batches, 2)
    batches.keep(claim, [LineResult(1, "one")])
    batches.end(claim, BatchStatus.EXPIRED, [LineResult(2, "too late", is_error=True)])
    ended = batches.get(F, claim.batch_id)
    assert (ended.status, ended.num_lines, ended.num_answered, ended.num_failed) == ("expired", 2, 1, 0)
    assert ended.error_file is not None
    assert TuningStore(store).load_file(ended.error_file) == b"too late\n"


def test_only_the_latest_claim_writes(batches: BatchStore, create: Create) -> None:
    """A server that was thought dead changes nothing, and one that beats is not taken over."""
    create()
    first = begun(batches)
    assert batches.claim(F, "b") is None
    (beat,) = batches.beats(F)
    batches.beat(first)
    assert not batches.take_over(beat, HOPELESS)
    assert batches.take_over(batches.beats(F)[0], HOPELESS)
    second, _ = claimed_batch(batches.claim(F, "b"))
    for write in (lambda: batches.keep(first, [LineResult(1, "late")]), lambda: batches.beat(first)):
        with pytest.raises(BatchClaimLost):
            write()
    assert batches.done(second) == frozenset()
    batches.release(second)
    with pytest.raises(BatchClaimLost):
        batches.end(second, BatchStatus.COMPLETED)


def test_a_batch_that_stops_servers_fails_with_what_is_kept(batches: BatchStore, create: Create) -> None:
    """Three claims in a row without a result; a result begins the count anew."""
    create()
    batches.keep(begun(batches), [LineResult(1, "one")])
    for _ in range(3):
        assert batches.take_over(batches.beats(F)[0], HOPELESS)
        claimed_batch(batches.claim(F, "b"))
    assert batches.take_over(batches.beats(F)[0], HOPELESS)
    (failed,) = batches.page(F)
    assert (failed.status, failed.faults, failed.num_answered) == ("failed", (HOPELESS,), 1)
    assert failed.output_file is not None


def test_a_cancelled_batch_waits_for_its_end(batches: BatchStore, create: Create) -> None:
    """Nobody asks its lines any more; whoever looks next ends it."""
    create()
    claim = begun(batches)
    assert batches.cancel(F, claim.batch_id).status is BatchStatus.CANCELLING
    assert batches.cancel(F, claim.batch_id).status is BatchStatus.CANCELLING
    assert batches.beat(claim) is BatchStatus.CANCELLING
    batches.release(claim)
    assert batches.claim(F, "b") is None
    again, _ = claimed_batch(batches.claim(F, "b", to_end=True))
    batches.end(again, BatchStatus.CANCELLED)
    with pytest.raises(BatchStatusConflict, match="cancelled"):
        batches.cancel(F, claim.batch_id)


def test_an_expired_batch_is_only_ended(batches: BatchStore, create: Create) -> None:
    """Its lines are not asked."""
    create(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert batches.claim(F, "a") is None
    claimed_batch(batches.claim(F, "a", to_end=True))


def test_batches_and_their_files_belong_to_their_key(store: Store, batches: BatchStore, create: Create) -> None:
    """Another key sees neither; files of examples stay shared."""
    mine, theirs = create("key:a"), create("key:b")
    assert batches.page(F, owner="key:a") == (mine,)
    assert batches.page(F) == (theirs, mine)
    for read in (batches.get, batches.cancel):
        with pytest.raises(BatchNotFound):
            read(F, theirs.id, owner="key:a")
    tuning, access = TuningStore(store), FileAccess("key:a", sees_examples=False)
    examples = tuning.add_file("train.jsonl", "fine-tune", [b"{}"], actor="key:b")
    assert [file.id for file in tuning.list_files(access=access)] == [mine.input_file]
    assert [file.id for file in tuning.list_files(access=FileAccess("key:a"))] == [examples.id, mine.input_file]
    for use in (tuning.get_file, tuning.load_file, tuning.delete_file):
        with pytest.raises(FileNotFound):
            use(theirs.input_file, access)
    new = NewBatch(F, "key:a", "/v1/completions", theirs.input_file, "24h", LATER, {})
    with pytest.raises(FileNotFound):
        batches.create(new, max_unfinished=9, access=access)


def test_a_file_of_examples_is_no_input(store: Store, batches: BatchStore) -> None:
    """Examples are shared by keys that tune; a batch would make answers of them."""
    file = TuningStore(store).add_file("train.jsonl", "fine-tune", [b"{}"], actor="key:a")
    with pytest.raises(FileNotFound, match="purpose batch"):
        batches.create(NewBatch(F, "key:a", "/v1/completions", file.id, "24h", LATER, {}), max_unfinished=9)


def test_the_queue_of_a_key_is_bounded(batches: BatchStore, create: Create) -> None:
    """Each key has its own bound."""
    create("key:a", max_unfinished=1)
    create("key:b", max_unfinished=1)
    with pytest.raises(BatchQueueFull, match="--max-batches"):
        create("key:a", max_unfinished=1)


def test_an_input_file_stays_while_its_batch_needs_it(store: Store, batches: BatchStore, create: Create) -> None:
    """Once the batch has ended it can go, and the batch keeps its faults."""
    batch, tuning = create(), TuningStore(store)
    with pytest.raises(FileInUse):
        tuning.delete_file(batch.input_file)
    batches.reject(begun(batches), [BatchFault("invalid_json_line", "This line is not JSON.", 1)])
    tuning.delete_file(batch.input_file)
    assert batches.get(F, batch.id).faults[0].line == 1


def test_a_purge_reaches_batches_of_the_task(store: Store, batches: BatchStore, create: Create) -> None:
    """Running or ended, with all files; batches of other tasks stay."""
    store.publish("mine", checkpoint(), Manifest())
    create()
    claim = begun(batches, 1, ("mine", "other"))
    batches.keep(claim, [LineResult(1, "secret")])
    batches.end(claim, BatchStatus.COMPLETED)
    create()
    running = begun(batches, 1, ("mine",))
    batches.keep(running, [LineResult(1, "secret")])
    other = create()
    begun(batches, 1, ("other",))
    report = store.purge_task(F, "mine")
    assert (report.num_batches, report.num_files) == (2, 3)
    assert [batch.id for batch in batches.page(F)] == [other.id]
    assert [file.id for file in TuningStore(store).list_files()] == [other.input_file]
    with pytest.raises(BatchClaimLost):
        batches.keep(running, [])
    assert maintenance.verify(store).is_clean


def test_old_batches_are_garbage_and_others_are_not(store: Store, batches: BatchStore, create: Create) -> None:
    """By the time of their end; an unfinished one is never garbage."""
    create()
    batches.end(begun(batches), BatchStatus.COMPLETED)
    kept = create()
    report = maintenance.gc(store)
    assert (report.num_batches, report.num_batch_files) == (0, 0)
    report = maintenance.gc(store, keep_batches_s=0)
    assert (report.num_batches, report.num_batch_files) == (1, 1)
    assert [batch.id for batch in batches.page(F)] == [kept.id]
    assert maintenance.verify(store).is_clean


def test_a_backup_has_batches_with_their_kept_lines(
    store: Store, batches: BatchStore, create: Create, tmp_path: Path
) -> None:
    """A restored server goes on where the other was."""
    create()
    claim = begun(batches, 2)
    batches.keep(claim, [LineResult(2, "two")])
    assert maintenance.backup(store, tmp_path / "backup.db").num_batches == 1
    with Store.open(str(tmp_path / "backup.db")) as copy:
        assert BatchStore(copy).done(claim) == {2}
        assert BatchStore(copy).page(F) == batches.page(F)


def test_verify_finds_a_count_that_is_wrong(store: Store, batches: BatchStore, create: Create) -> None:
    """A lost result does not pass unseen."""
    create()
    batches.keep(begun(batches), [LineResult(1, "one")])
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM batch_lines")
    assert maintenance.verify(store).problems == ("Batch 1 counts 1 results but keeps 0.",)


class Servers(RuleBasedStateMachine):
    """Two servers work on one batch; any of them is killed at any moment, and a killed one may still write."""

    def __init__(self) -> None:
        super().__init__()
        self._store = Store.open(str(_folder / f"{next(_names)}.db"))
        self._batches = BatchStore(self._store)
        self._claims: dict[str, BatchClaim] = {}
        self._asked: dict[int, str] = {}
        self._holder: str | None = None

    @initialize(num_lines=st.integers(1, 6))
    def create(self, num_lines: int) -> None:
        self._num_lines = num_lines
        file = TuningStore(self._store).add_file("in", "batch", [b"x"], actor="key:ci")
        self._batches.create(NewBatch(F, "key:ci", "/v1/completions", file.id, "24h", LATER, {}), max_unfinished=1)
        claim = begun(self._batches, num_lines)
        self._batches.release(claim)

    @rule(server=st.sampled_from("ab"))
    def claim(self, server: str) -> None:
        found = self._batches.claim(F, server)
        assert (found is None) == (self._holder is not None)
        if found is not None:
            self._claims[server], self._holder = found[0], server

    @rule(server=st.sampled_from("ab"), numbers=st.sets(st.integers(1, 6), min_size=1))
    def keep(self, server: str, numbers: set[int]) -> None:
        claim = self._claims.get(server)
        if claim is None:
            return
        results = [
            LineResult(number, json.dumps([server, number]), is_error=number % 2 == 0)
            for number in numbers
            if number <= self._num_lines
        ]
        if server != self._holder:
            with pytest.raises(BatchClaimLost):
                self._batches.keep(claim, results)
            return
        self._batches.keep(claim, results)
        for result in results:
            self._asked.setdefault(result.number, result.data)

    @precondition(lambda self: self._holder is not None)
    @rule()
    def kill(self) -> None:
        """The holder stops without a word; a second server takes its batch over."""
        self._batches.keep(self._claims[self._holder or ""], [])  # so that it does not fail as fruitless
        assert self._batches.take_over(self._batches.beats(F)[0], HOPELESS)
        self._holder = None

    @precondition(lambda self: self._holder is not None)
    @rule()
    def stop(self) -> None:
        self._batches.release(self._claims[self._holder or ""])
        self._holder = None

    @invariant()
    def counts_what_is_kept(self) -> None:
        (batch,) = self._batches.page(F)
        errors = sum(number % 2 == 0 for number in self._asked)
        assert (batch.num_answered, batch.num_failed) == (len(self._asked) - errors, errors)

    def teardown(self) -> None:
        if self._holder is None:
            self._claims["c"] = claimed_batch(self._batches.claim(F, "c"))[0]
            self._holder = "c"
        claim = self._claims[self._holder]
        assert self._batches.done(claim) == self._asked.keys()
        self._batches.end(claim, BatchStatus.COMPLETED)
        (batch,) = self._batches.page(F)
        lines: list[str] = []
        for file in (batch.output_file, batch.error_file):
            lines += [] if file is None else TuningStore(self._store).load_file(file).decode().splitlines()
        in_order = sorted(self._asked)
        expected = [n for n in in_order if n % 2] + [n for n in in_order if n % 2 == 0]
        assert lines == [self._asked[number] for number in expected]
        assert maintenance.verify(self._store).is_clean
        self._store.close()


_folder = Path()
_names = iter(range(10**6))


def test_no_line_is_lost_or_kept_twice_whoever_is_killed(tmp_path: Path) -> None:
    """A stateful test of claims, kills and late writes."""
    global _folder
    _folder = tmp_path
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Servers,
        settings=settings(
            max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
