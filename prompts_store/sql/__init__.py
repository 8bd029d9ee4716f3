"""The store in SQL. Every function takes an open connection; store.py decides which transaction that is.

tables.py    what the database holds
database.py  connections, transactions, and foreign exceptions becoming ours
schema.py    which revision a database is at, and bringing it up
tasks.py  versions.py  tensors.py  aliases.py  changes.py    the queries, by what they are about
"""
