"""The tables of the database, in portable types.

Only gc and purge remove rows; a move or deletion of an alias also replaces or removes its current targets. A task's row
outlives even a purge, so that its version numbers continue if the name returns.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC even if the database has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add UTC to a naive datetime from the database."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def name_type(length: int) -> TypeEngine[str]:
    """A name that every database sorts by its bytes."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def row_id() -> Column[Any]:
    """A number that is never given twice within the table, growing in the order of the inserts."""
    # SQLite gives ids by itself only to a column of exactly the type INTEGER.
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    row_id(),
    Column("base_fingerprint", name_type(128), nullable=False),
    Column("name", name_type(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("last_version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("deleted_at", UtcDateTime),
    UniqueConstraint("base_fingerprint", "name", name="uq_tasks_name"),
    sqlite_autoincrement=True,
)

# `members` is a JSON list of version, digest and prefix digest; null but for ensembles, whose `prefix_digest` and
# `peft_type` are empty.
versions = Table(
    "versions",
    metadata,
    row_id(),
    Column("task_id", ForeignKey("tasks.id", name="fk_versions_task"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("prefix_digest", String(64), nullable=False),
    Column("prefix_shape", Text, nullable=False),
    Column("peft_type", String(32), nullable=False),
    Column("num_virtual_tokens", Integer, nullable=False),
    Column("base_name", Text, nullable=False),
    Column("base_mismatch", Boolean, nullable=False),
    Column("config", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("members", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("retired_at", UtcDateTime),
    Column("retired_by", Text),
    Column("freed_at", UtcDateTime),
    UniqueConstraint("task_id", "number", name="uq_versions_number"),
    sqlite_autoincrement=True,
)
_live = versions.c.retired_at.is_(None)
Index(
    "uq_versions_live_digest",
    versions.c.task_id,
    versions.c.digest,
    unique=True,
    sqlite_where=_live,
    postgresql_where=_live,
)

# Versions that differ only in a template share their tensors.
tensors = Table(
    "tensors",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

version_tensors = Table(
    "version_tensors",
    metadata,
    Column("version_id", ForeignKey("versions.id", name="fk_version_tensors_version"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("original_dtype", String(8), nullable=False),
    Column("shape", Text, nullable=False),
    Column("sha256", ForeignKey("tensors.sha256", name="fk_version_tensors_tensor"), nullable=False, index=True),
    PrimaryKeyConstraint("version_id", "name", name="pk_version_tensors"),
)

# `targets` is a JSON list of version and weight by version, null where the alias was deleted. `parent_id` is the move
# that a rollback from this one goes back to: moves form an undo stack.
alias_moves = Table(
    "alias_moves",
    metadata,
    row_id(),
    Column("task_id", ForeignKey("tasks.id", name="fk_alias_moves_task"), nullable=False),
    Column("alias", name_type(64), nullable=False),
    Column("targets", Text),
    Column("shadow_of", String(64)),
    Column("parent_id", ForeignKey("alias_moves.id", name="fk_alias_moves_parent")),
    Column("moved_at", UtcDateTime, nullable=False),
    Column("moved_by", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
Index("ix_alias_moves_alias", alias_moves.c.task_id, alias_moves.c.alias, alias_moves.c.id)

# `move_id` is the move that brought the alias here, and its etag; the targets are that move's. An alias has one shadow.
aliases = Table(
    "aliases",
    metadata,
    Column("task_id", ForeignKey("tasks.id", name="fk_aliases_task"), nullable=False),
    Column("alias", name_type(64), nullable=False),
    Column("shadow_of", String(64)),
    Column("move_id", ForeignKey("alias_moves.id", name="fk_aliases_move"), nullable=False),
    PrimaryKeyConstraint("task_id", "alias", name="pk_alias_places"),
    UniqueConstraint("task_id", "shadow_of", name="uq_aliases_shadow"),
)

# The same targets once more, as rows: what keeps a version from being retired.
alias_targets = Table(
    "alias_targets",
    metadata,
    Column("task_id", aliases.c.task_id.type, nullable=False),
    Column("alias", name_type(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    PrimaryKeyConstraint("task_id", "alias", "version", name="pk_alias_targets"),
    ForeignKeyConstraint(["task_id", "alias"], ["aliases.task_id", "aliases.alias"], name="fk_alias_targets_alias"),
    ForeignKeyConstraint(
        ["task_id", "version"], ["versions.task_id", "versions.number"], name="fk_alias_targets_version"
    ),
)

changes = Table(
    "changes",
    metadata,
    row_id(),
    Column("kind", String(32), nullable=False),
    Column("base_fingerprint", String(128), nullable=False),
    Column("task", String(64), nullable=False),
    Column("version", Integer),
    Column("alias", String(64)),
    Column("key", String(64)),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", Text, nullable=False),
    sqlite_autoincrement=True,
)

# Scopes and tasks are words with a space between; `tasks` null allows all.
keys = Table(
    "keys",
    metadata,
    Column("name", name_type(64), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("tasks", Text),
    Column("expires_at", UtcDateTime),
    Column("best_priority", Integer, nullable=False),
    Column("max_requests_per_minute", Integer),
    Column("max_tokens_per_minute", Integer),
    Column("max_concurrent", Integer),
    Column("salt", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", Text),
    UniqueConstraint("sha256", name="uq_keys_sha256"),
)
