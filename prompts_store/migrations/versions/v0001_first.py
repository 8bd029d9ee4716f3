"""Tasks, versions, tensors, aliases with their moves, and changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_LIVE = sa.text("retired_at IS NULL")


def upgrade() -> None:
    """Create every table."""
    _create_tasks()
    _create_versions()
    _create_aliases()
    op.create_table(
        "changes",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("base_fingerprint", sa.String(128), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer()),
        sa.Column("alias", sa.String(64)),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("base_fingerprint", sa.String(128), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("deleted_at", _TIME),
        sa.UniqueConstraint("base_fingerprint", "name", name="uq_tasks_name"),
        sqlite_autoincrement=True,
    )


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("task_id", _ID, sa.ForeignKey("tasks.id", name="fk_versions_task"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("prefix_digest", sa.String(64), nullable=False),
        sa.Column("prefix_shape", sa.Text(), nullable=False),
        sa.Column("peft_type", sa.String(32), nullable=False),
        sa.Column("num_virtual_tokens", sa.Integer(), nullable=False),
        sa.Column("base_name", sa.Text(), nullable=False),
        sa.Column("base_mismatch", sa.Boolean(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("retired_at", _TIME),
        sa.Column("retired_by", sa.Text()),
        sa.UniqueConstraint("task_id", "number", name="uq_versions_number"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_versions_live_digest",
        "versions",
        ["task_id", "digest"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
    op.create_table(
        "tensors",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "version_tensors",
        sa.Column("version_id", _ID, sa.ForeignKey("versions.id", name="fk_version_tensors_version"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("original_dtype", sa.String(8), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column(
            "sha256",
            sa.String(64),
            sa.ForeignKey("tensors.sha256", name="fk_version_tensors_tensor"),
            nullable=False,
            index=True,
        ),
        sa.PrimaryKeyConstraint("version_id", "name", name="pk_version_tensors"),
    )


def _create_aliases() -> None:
    op.create_table(
        "alias_moves",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("task_id", _ID, sa.ForeignKey("tasks.id", name="fk_alias_moves_task"), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("from_version", sa.Integer()),
        sa.Column("to_version", sa.Integer()),
        sa.Column("parent_id", _ID, sa.ForeignKey("alias_moves.id", name="fk_alias_moves_parent")),
        sa.Column("moved_at", _TIME, nullable=False),
        sa.Column("moved_by", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alias_moves_alias", "alias_moves", ["task_id", "alias", "id"])
    op.create_table(
        "aliases",
        sa.Column("task_id", _ID, sa.ForeignKey("tasks.id", name="fk_aliases_task"), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("move_id", _ID, sa.ForeignKey("alias_moves.id", name="fk_aliases_move"), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "alias", name="pk_aliases"),
        sa.ForeignKeyConstraint(
            ["task_id", "version"], ["versions.task_id", "versions.number"], name="fk_aliases_version"
        ),
    )
