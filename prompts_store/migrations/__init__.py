"""Alembic migrations of the store's database, run by sql/schema.py; no ini file is needed."""
