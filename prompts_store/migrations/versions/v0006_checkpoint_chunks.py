"""States of tuning jobs in chunks, and a count of the claims of a job that brought no checkpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("tuning_jobs", sa.Column("fruitless_claims", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "tuning_checkpoint_chunks",
        sa.Column(
            "checkpoint_id",
            _ID,
            sa.ForeignKey("tuning_checkpoints.id", name="fk_tuning_checkpoint_chunks_checkpoint"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", "number", name="pk_tuning_checkpoint_chunks"),
    )
    op.execute(
        "INSERT INTO tuning_checkpoint_chunks (checkpoint_id, number, data) "
        "SELECT id, 0, state FROM tuning_checkpoints WHERE state IS NOT NULL"
    )
    op.drop_column("tuning_checkpoints", "state")
