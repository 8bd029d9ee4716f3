"""The store in SQL. Every function takes an open connection; the caller chooses its transaction.

tables.py         the tables of the database
tasks.py          queries about tasks
versions.py       queries about versions
tensors.py        tensors under their sha256, verified on every read
aliases.py        queries about aliases, and their moves
alias_history.py  every move of an alias
resolve.py        the current meaning of a task reference
keys.py           queries about API keys
changes.py        the change feed
purge.py          removing for good
verification.py   recomputes all digests and checks all rules
tuning/           files, tuning jobs and plots
batches/          batches, and the results of their lines
databases/        connections, transactions and schema on SQLite and PostgreSQL
"""
