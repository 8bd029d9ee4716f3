"""Batches of requests, the lines that are done, and the tasks that their lines name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("base_fingerprint", _name(128), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("input_file", sa.BigInteger(), nullable=False),
        sa.Column("completion_window", sa.String(16), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("faults", sa.Text(), nullable=False),
        sa.Column("num_lines", sa.Integer(), nullable=False),
        sa.Column("num_answered", sa.Integer(), nullable=False),
        sa.Column("num_failed", sa.Integer(), nullable=False),
        sa.Column("output_file", sa.BigInteger()),
        sa.Column("error_file", sa.BigInteger()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("in_progress_at", _TIME),
        sa.Column("cancelling_at", _TIME),
        sa.Column("finalizing_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("num_beats", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("fruitless_claims", sa.Integer(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_batches_status", "batches", ["base_fingerprint", "status"])
    op.create_index("ix_batches_owner", "batches", ["base_fingerprint", "owner", "id"])
    _create_parts()


def _create_parts() -> None:
    op.create_table(
        "batch_lines",
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.id", name="fk_batch_lines_batch"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("is_error", sa.Boolean(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_lines"),
    )
    op.create_table(
        "batch_tasks",
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.id", name="fk_batch_tasks_batch"), nullable=False),
        sa.Column("task", _name(64), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "task", name="pk_batch_tasks"),
    )


def _name(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
