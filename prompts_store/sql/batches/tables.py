"""Tables of batches, their lines that are done, and the tasks that they name."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from prompts_store.sql.tables import UtcDateTime, metadata, name_type, row_id

# Files are numbers without a foreign key, because a batch may outlive them. `claim`, `num_beats`, `claimed_by` and
# `fruitless_claims` are as in the table of tuning jobs.
batches = Table(
    "batches",
    metadata,
    row_id(),
    Column("base_fingerprint", name_type(128), nullable=False),
    Column("owner", Text, nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file", BigInteger, nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("metadata", Text, nullable=False),
    Column("status", String(32), nullable=False),
    Column("faults", Text, nullable=False),
    Column("num_lines", Integer, nullable=False),
    Column("num_answered", Integer, nullable=False),
    Column("num_failed", Integer, nullable=False),
    Column("output_file", BigInteger),
    Column("error_file", BigInteger),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("in_progress_at", UtcDateTime),
    Column("cancelling_at", UtcDateTime),
    Column("finalizing_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("claim", Integer, nullable=False),
    Column("num_beats", Integer, nullable=False),
    Column("claimed_by", Text),
    Column("fruitless_claims", Integer, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_batches_status", batches.c.base_fingerprint, batches.c.status)
Index("ix_batches_owner", batches.c.base_fingerprint, batches.c.owner, batches.c.id)

# Only a batch that has not ended has rows here: at its end they become its files.
batch_lines = Table(
    "batch_lines",
    metadata,
    Column("batch_id", ForeignKey("batches.id", name="fk_batch_lines_batch"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("is_error", Boolean, nullable=False),
    Column("data", Text, nullable=False),
    PrimaryKeyConstraint("batch_id", "number", name="pk_batch_lines"),
)

batch_tasks = Table(
    "batch_tasks",
    metadata,
    Column("batch_id", ForeignKey("batches.id", name="fk_batch_tasks_batch"), nullable=False),
    Column("task", name_type(64), nullable=False),
    PrimaryKeyConstraint("batch_id", "task", name="pk_batch_tasks"),
)
