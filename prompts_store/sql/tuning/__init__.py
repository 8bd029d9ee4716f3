"""Files, tuning jobs and plots in SQL.

tables.py        what the database holds
files.py         uploaded files, in chunks
jobs.py          jobs and their states
job_claims.py    which server holds a job, and what only its holder may write
job_log.py       a job's events and checkpoints
plots.py         the plots of versions
verification.py  reads all of it and compares it with its digests
"""
