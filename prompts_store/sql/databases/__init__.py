"""Connections and transactions, on SQLite and on PostgreSQL.

database.py  connections, transactions, and foreign exceptions becoming ours
backend.py   what the two databases do differently: the contract
sqlite.py    the contract for SQLite
postgres.py  the contract for PostgreSQL
schema.py    which revision a database is at, and its upgrade
copying.py   copies a whole store from one database to the other
snapshot.py  a copy of a SQLite file that may be in use
"""
