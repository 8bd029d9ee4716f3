"""The store in SQL. Every function takes an open connection; the stores decide which transaction that is.

tables.py         what the database holds
tasks.py          queries about tasks
versions.py       queries about versions
tensors.py        tensors under their sha256, verified on every read
aliases.py        where aliases are, and moving them
alias_history.py  every move of an alias
resolve.py        what a task reference means now
keys.py           queries about API keys
changes.py        the change feed
purge.py          removing for good
verification.py   reads everything and compares it with its digests
tuning/           files, tuning jobs and plots
databases/        connections, transactions and schema on SQLite and PostgreSQL
"""
