"""API keys, and changes of them in the change feed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    is_postgres = op.get_context().dialect.name == "postgresql"
    names = sa.String(64, collation="C") if is_postgres else sa.String(64)
    op.create_table(
        "keys",
        sa.Column("name", names, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("tasks", sa.Text()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("best_priority", sa.Integer(), nullable=False),
        sa.Column("max_requests_per_minute", sa.Integer()),
        sa.Column("max_tokens_per_minute", sa.Integer()),
        sa.Column("max_concurrent", sa.Integer()),
        sa.Column("salt", sa.String(64)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_by", sa.Text()),
        sa.UniqueConstraint("sha256", name="uq_keys_sha256"),
    )
    op.add_column("changes", sa.Column("key", sa.String(64)))
