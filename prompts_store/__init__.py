"""The store: tasks, versions and aliases of soft prompts in one SQL database. NumPy and SQL, no torch.

store.py                tasks, versions and aliases; each method is one transaction
key_store.py            API keys, in the same way
change_feed.py          changes in commit order, and the audit log
tuning_store.py         files and tuning jobs, in the same way
publish.py              publishing a version, before and within the transaction
maintenance.py          upgrade, check, verify, gc, backup, restore
checkpoint/             PEFT checkpoints, read and written
manifest.py             what a version carries beside its tensors
generation_defaults.py  a version's default parameters
ensembles.py            versions that answer by other versions
targets.py              the versions of an alias, and which one answers a caller
names.py                names and task references
keys.py                 API keys: what a key may do
records.py              what the store takes and returns
tuning_records.py       the same for files and jobs
reports.py              the same for maintenance
errors.py               what the store refuses or fails with
tuning_errors.py        the same for files and jobs
strict_json.py          JSON from outside
limits.py               bounds of what comes from outside
sql/                    tables and queries
migrations/             the schema, revision by revision
"""
