"""Aliases of several targets, shadows, reasons of moves, and versions whose tensors were freed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAMES = {"tasks": ("base_fingerprint", "name"), "aliases": ("alias",), "alias_moves": ("alias",)}
_LENGTHS = {"base_fingerprint": 128, "name": 64, "alias": 64}


def upgrade() -> None:
    op.add_column("versions", sa.Column("freed_at", sa.DateTime(timezone=True)))
    _widen_moves()
    _create_targets()
    if op.get_context().dialect.name == "postgresql":
        _sort_names_by_bytes()


def _widen_moves() -> None:
    """Replace `to_version` by a list of targets; where a move came from is what the one before it says."""
    op.add_column("alias_moves", sa.Column("targets", sa.Text()))
    op.add_column("alias_moves", sa.Column("shadow_of", sa.String(64)))
    op.add_column("alias_moves", sa.Column("reason", sa.Text(), nullable=False, server_default=""))
    op.execute(
        "UPDATE alias_moves SET targets = '[[' || CAST(to_version AS VARCHAR(10)) || ',1]]' "
        "WHERE to_version IS NOT NULL"
    )
    op.drop_column("alias_moves", "from_version")
    op.drop_column("alias_moves", "to_version")


def _create_targets() -> None:
    op.create_table(
        "places",
        sa.Column("task_id", _ID, sa.ForeignKey("tasks.id", name="fk_aliases_task"), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("shadow_of", sa.String(64)),
        sa.Column("move_id", _ID, sa.ForeignKey("alias_moves.id", name="fk_aliases_move"), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "alias", name="pk_alias_places"),
        sa.UniqueConstraint("task_id", "shadow_of", name="uq_aliases_shadow"),
    )
    op.execute("INSERT INTO places (task_id, alias, move_id) SELECT task_id, alias, move_id FROM aliases")
    op.create_table(
        "alias_targets",
        sa.Column("task_id", _ID, nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "alias", "version", name="pk_alias_targets"),
        sa.ForeignKeyConstraint(
            ["task_id", "alias"], ["places.task_id", "places.alias"], name="fk_alias_targets_alias"
        ),
        sa.ForeignKeyConstraint(
            ["task_id", "version"], ["versions.task_id", "versions.number"], name="fk_alias_targets_version"
        ),
    )
    op.execute(
        "INSERT INTO alias_targets (task_id, alias, version, weight) SELECT task_id, alias, version, 1 FROM aliases"
    )
    op.drop_table("aliases")
    op.rename_table("places", "aliases")


def _sort_names_by_bytes() -> None:
    """Let names sort alike in every database: by bytes, and by the index that a page is read from."""
    for table, columns in (*_NAMES.items(), ("alias_targets", ("alias",))):
        for column in columns:
            op.alter_column(table, column, type_=sa.String(_LENGTHS[column], collation="C"))
