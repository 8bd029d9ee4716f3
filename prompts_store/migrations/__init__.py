"""Alembic migrations of the store's database, run by sql/databases/upgrade.py; no ini file is needed.

env.py     Alembic's entry
versions/  one module per revision
"""
