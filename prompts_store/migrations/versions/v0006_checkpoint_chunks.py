"""A count of the claims of a job that ended with their server and brought no checkpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("tuning_jobs", sa.Column("fruitless_claims", sa.Integer(), nullable=False, server_default="0"))
