"""Batches in SQL.

tables.py        what the database holds
batches.py       batches and their statuses
claims.py        which server holds a batch, and what only its holder may write
lines.py         results of lines, and the files made of them
removal.py       batches and files that a purge or a garbage collection removes
verification.py  checks the rules of batches
"""
