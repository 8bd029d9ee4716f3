"""Alembic migrations of the store's database, run by sql/databases/schema.py; no ini file is needed.

env.py     Alembic's entry
versions/  one module per revision
"""
