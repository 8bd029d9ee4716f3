"""Connections and transactions, on SQLite and on PostgreSQL.

database.py  connections, transactions, and the translation of foreign exceptions
backend.py   the contract of the two databases, for what they do differently
sqlite.py    the contract for SQLite
postgres.py  the contract for PostgreSQL
schema.py    the revision of a database, and its upgrade
upgrade.py   the same by Alembic, for a database that is not at this release's revision
copying.py   copies a whole store from one database to the other
snapshot.py  a copy of a SQLite file that may be in use
"""
