"""The store in SQL. Every function takes an open connection; store.py decides which transaction that is.

tables.py    what the database holds; tuning_tables.py  of files and tuning jobs
database.py  connections, transactions, and foreign exceptions becoming ours
backend.py   what the databases do differently, in sqlite.py and postgres.py
schema.py    which revision a database is at, and bringing it up
tasks.py  versions.py  tensors.py  aliases.py  alias_history.py  changes.py  resolve.py    the queries, by subject
files.py  jobs.py  job_claims.py  job_log.py  plots.py    files and tuning jobs
purge.py     removing for good; verification.py, tuning_verification.py  reading everything
copying.py   a whole store from one database to the other; snapshot.py  a copy of a SQLite file in use
"""
