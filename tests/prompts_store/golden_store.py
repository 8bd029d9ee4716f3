"""Stores as each release left them, in SQL; `python -m tests.prompts_store.golden_store` adds this release's own."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, MetaData, insert, select

from prompts_store import maintenance
from prompts_store.batch_records import BatchClaim, BatchRecord, BatchStatus, LineResult, NewBatch
from prompts_store.batch_store import BatchStore
from prompts_store.keys import KeyGrant, KeyLimits
from prompts_store.manifest import Manifest
from prompts_store.records import AliasTarget
from prompts_store.reports import VersionKey
from prompts_store.sql.databases.copying import advance, last_id
from prompts_store.sql.databases.database import Database
from prompts_store.sql.databases.schema import migrate
from prompts_store.store import Store
from prompts_store.tuning_records import JobClaim, JobOutcome, JobRecord, JobStatus, NewJob, Promotion
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE, checkpoint

FOLDER = Path(__file__).parent / "golden"
RELEASES = sorted(FOLDER.glob("store_*.sql"))


def load(release: Path, url: str) -> None:
    """Make a golden store again, on either database: PostgreSQL gets its schema of that time, and the same rows."""
    if "://" not in url:
        with closing(sqlite3.connect(url)) as connection:
            connection.executescript(release.read_text())
        return
    with tempfile.TemporaryDirectory() as folder:
        load(release, f"{folder}/golden.db")
        source, target = Database(f"{folder}/golden.db"), Database(url)
        migrate(target, to=release.stem.removeprefix("store_"))
        with source.read() as connection, target.write() as into:
            _copy(connection, into)
        source.close()
        target.close()


def _copy(source: Connection, target: Connection) -> None:
    """Copy all rows by what the databases say of themselves: the tables of then are not those of now."""
    theirs, ours = MetaData(), MetaData()
    theirs.reflect(source)
    ours.reflect(target)
    for table in ours.sorted_tables:
        if table.name == "alembic_version":
            continue
        rows = [dict(row._mapping) for row in source.execute(select(theirs.tables[table.name]))]
        if rows:
            target.execute(insert(table), rows)
        if "id" in table.c:
            advance(target, table, last_id(source, table))


def main() -> None:
    """Add to the oldest golden store what releases since can hold, and write it out under the schema of now."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/store.db"
        load(RELEASES[0], path)
        with Store.open(path) as store:
            fill(store)
            fill_tuning(store)
            fill_ensemble(store)
            fill_keys(store)
            fill_chunks(store)
            fill_batches(store)
        needed = maintenance.check(path).needed
        with closing(sqlite3.connect(path)) as connection:
            (FOLDER / f"store_{needed}.sql").write_text("\n".join(connection.iterdump()) + "\n")


def fill(store: Store) -> None:
    """Use what revision 0002 brought: weights, a shadow, a reason, provenance, a freed version, a purged task."""
    fingerprint = BASE.fingerprint
    canary = (AliasTarget(2, 90), AliasTarget(3, 10))
    move = {"if_match": None, "must_not_exist": True, "actor": "ann", "reason": "try it"}
    store.put_alias(fingerprint, "sentiment", "canary", canary, **move)
    store.put_alias(fingerprint, "sentiment", "next", 3, shadow_of="production", **move)
    manifest = Manifest(parent_version=1, training_data_digest="d" * 64)
    for seed in (6, 7):
        store.publish("topic", checkpoint(seed=seed), manifest if seed == 7 else Manifest(), promote=True)
    store.retire_version(fingerprint, "topic", 1)
    store.publish("gone", checkpoint(seed=8), Manifest(note="secret"))
    store.purge_task(fingerprint, "gone")
    maintenance.gc(store, grace_s=0.0, keep=[VersionKey(fingerprint, "sentiment", 1)])


def fill_keys(store: Store) -> None:
    """Use what revision 0005 brought: a live key, and a revoked one."""
    grant = KeyGrant("ci", frozenset({"infer"}), ("sentiment",), limits=KeyLimits(60), salt="team")
    store.create_key(grant, actor="ann")
    store.create_key(KeyGrant("old", frozenset({"admin"})), actor="ann")
    store.revoke_key("old", actor="bob")


def fill_tuning(store: Store) -> None:
    """Use what revision 0003 brought: a file, a job that made a version with a plot, and one that rests."""
    tuning, fingerprint = TuningStore(store), BASE.fingerprint
    file = tuning.add_file("train.jsonl", "fine-tune", [b'{"prompt": "a", ', b'"completion": "b"}'], actor="ann")
    job = NewJob(fingerprint, "mood", file.id, None, seed=1, request={"template": "{input}"})
    for _ in range(2):
        tuning.create_job(job, max_unfinished=2, actor="ann")
        claim, _ = claimed(tuning.claim_job(fingerprint, JobStatus.VALIDATING_FILES, "server-1"))
        tuning.mark_valid(claim)
    claim, _ = claimed(tuning.claim_job(fingerprint, JobStatus.QUEUED, "server-1"))
    outcome = JobOutcome(Manifest(note="tuned"), Promotion(), trained_tokens=9, metrics={"loss": 0.5}, plot=b"PNG")
    tuning.complete_job(claim, "mood", checkpoint(seed=9), outcome, actor="ann")
    claim, _ = claimed(tuning.claim_job(fingerprint, JobStatus.QUEUED, "server-1"))
    tuning.save_checkpoint(claim, 3, {"loss": 0.7}, b"state")
    tuning.pause_job(fingerprint, claim.job_id)


def fill_chunks(store: Store) -> None:
    """Use what revision 0006 brought: a state that is kept in chunks, of a job at work."""
    tuning, fingerprint = TuningStore(store), BASE.fingerprint
    tuning.create_job(NewJob(fingerprint, "mood", 1, None, seed=2, request={}), max_unfinished=3, actor="ann")
    claim, _ = claimed(tuning.claim_job(fingerprint, JobStatus.VALIDATING_FILES, "server-1"))
    tuning.mark_valid(claim)
    claim, _ = claimed(tuning.claim_job(fingerprint, JobStatus.QUEUED, "server-1"))
    tuning.save_checkpoint(claim, 5, {}, b"state in chunks")


def fill_batches(store: Store) -> None:
    """Use what revision 0007 brought: a batch with its files, and one of two lines that has one result."""
    batches, tuning = BatchStore(store), TuningStore(store)
    lines = [b'{"custom_id": "a"}\n', b'{"custom_id": "b"}\n']
    file = tuning.add_file("in.jsonl", "batch", lines, actor="key:ci")
    expires = datetime(2999, 1, 1, tzinfo=UTC)
    new = NewBatch(BASE.fingerprint, "key:ci", "/v1/completions", file.id, "24h", expires, {"night": "1"})
    for is_done in (True, False):
        batches.create(new, max_unfinished=2)
        claim, _ = claimed_batch(batches.claim(BASE.fingerprint, "server-1"))
        batches.accept(claim, 2, ["sentiment"])
        batches.keep(claim, [LineResult(2, '{"answer": "b"}')])
        if is_done:
            batches.keep(claim, [LineResult(1, '{"error": "a"}', is_error=True)])
            batches.begin_files(claim)
            batches.end(claim, BatchStatus.COMPLETED)


def fill_ensemble(store: Store) -> None:
    """Use what revision 0004 brought: a version that lists two others."""
    for seed in (11, 12):
        store.publish("votes", checkpoint(seed=seed), Manifest(labels=("good", "bad")))
    store.publish_ensemble(BASE.fingerprint, "votes", [2, 1], Manifest(note="both"), promote=True)


def claimed_batch(found: tuple[BatchClaim, BatchRecord] | None) -> tuple[BatchClaim, BatchRecord]:
    """A claim that must have come about."""
    assert found is not None
    return found


def claimed(found: tuple[JobClaim, JobRecord] | None) -> tuple[JobClaim, JobRecord]:
    """A claim that must have come about."""
    assert found is not None
    return found


if __name__ == "__main__":
    main()
