"""Alembic's entry: migrate on the connection, and within the transaction, that sql/databases/upgrade.py hands over."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
