"""Files, tuning jobs with their events and checkpoints, and the plots of versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_files()
    _create_jobs()
    _create_log()
    op.create_table(
        "version_plots",
        sa.Column(
            "version_id",
            _ID,
            sa.ForeignKey("versions.id", name="fk_version_plots_version"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("png", sa.LargeBinary(), nullable=False),
    )


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "file_chunks",
        sa.Column("file_id", _ID, sa.ForeignKey("files.id", name="fk_file_chunks_file"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", "number", name="pk_file_chunks"),
    )


def _create_jobs() -> None:
    op.create_table(
        "tuning_jobs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("base_fingerprint", _name(128), nullable=False),
        sa.Column("task", _name(64), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("training_file", sa.BigInteger(), nullable=False),
        sa.Column("validation_file", sa.BigInteger()),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("estimated_finish", _TIME),
        sa.Column("trained_tokens", sa.BigInteger()),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer()),
        sa.Column("error", sa.Text()),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("num_beats", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tuning_jobs_status", "tuning_jobs", ["base_fingerprint", "status"])


def _create_log() -> None:
    op.create_table(
        "tuning_events",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_id", _ID, sa.ForeignKey("tuning_jobs.id", name="fk_tuning_events_job"), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tuning_events_job", "tuning_events", ["job_id", "id"])
    op.create_table(
        "tuning_checkpoints",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_id", _ID, sa.ForeignKey("tuning_jobs.id", name="fk_tuning_checkpoints_job"), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.LargeBinary()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tuning_checkpoints_job", "tuning_checkpoints", ["job_id", "id"])


def _name(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
