"""Tables of tuning: files, jobs with their events and checkpoints, and the plots of versions."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from prompts_store.sql.tables import UtcDateTime, metadata, name_type, row_id

files = Table(
    "files",
    metadata,
    row_id(),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    sqlite_autoincrement=True,
)

file_chunks = Table(
    "file_chunks",
    metadata,
    Column("file_id", ForeignKey("files.id", name="fk_file_chunks_file"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("file_id", "number", name="pk_file_chunks"),
)

# Files are numbers without a foreign key, because a job that has ended may outlive them. `claim` counts the claims of a
# job; every write of a claim depends on it. `num_beats` grows while the server `claimed_by` works on the job.
# `fruitless_claims` counts the claims since the latest progress that were not given back in order.
jobs = Table(
    "tuning_jobs",
    metadata,
    row_id(),
    Column("base_fingerprint", name_type(128), nullable=False),
    Column("task", name_type(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("training_file", BigInteger, nullable=False),
    Column("validation_file", BigInteger),
    Column("seed", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("estimated_finish", UtcDateTime),
    Column("trained_tokens", BigInteger),
    Column("metrics", Text, nullable=False),
    Column("version", Integer),
    Column("error", Text),
    Column("claim", Integer, nullable=False),
    Column("num_beats", Integer, nullable=False),
    Column("claimed_by", Text),
    Column("fruitless_claims", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
Index("ix_tuning_jobs_status", jobs.c.base_fingerprint, jobs.c.status)

job_events = Table(
    "tuning_events",
    metadata,
    row_id(),
    Column("job_id", ForeignKey("tuning_jobs.id", name="fk_tuning_events_job"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("level", String(8), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_tuning_events_job", job_events.c.job_id, job_events.c.id)

# The state of a checkpoint is in chunks, because a database limits the size of one value. Only the latest checkpoint of
# a job that has not ended, or that failed, has chunks.
job_checkpoints = Table(
    "tuning_checkpoints",
    metadata,
    row_id(),
    Column("job_id", ForeignKey("tuning_jobs.id", name="fk_tuning_checkpoints_job"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("step", Integer, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_tuning_checkpoints_job", job_checkpoints.c.job_id, job_checkpoints.c.id)

checkpoint_chunks = Table(
    "tuning_checkpoint_chunks",
    metadata,
    Column(
        "checkpoint_id",
        ForeignKey("tuning_checkpoints.id", name="fk_tuning_checkpoint_chunks_checkpoint"),
        nullable=False,
    ),
    Column("number", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("checkpoint_id", "number", name="pk_tuning_checkpoint_chunks"),
)

version_plots = Table(
    "version_plots",
    metadata,
    Column("version_id", ForeignKey("versions.id", name="fk_version_plots_version"), primary_key=True),
    Column("png", LargeBinary, nullable=False),
)
