"""The store: tasks, versions and aliases of soft prompts in one SQL database. NumPy and SQL, no torch.

store.py                tasks, versions and aliases; each method is one transaction
key_store.py            API keys, in the same way
change_feed.py          changes in commit order, and the audit log
tuning_store.py         files and tuning jobs, in the same way
batch_store.py          batches, in the same way
publish.py              publishing a version, before and within the transaction
maintenance.py          upgrade, check, verify, gc, backup, restore
checkpoint/             PEFT checkpoints, read and written
manifest.py             the content of a version besides its tensors
task_fields.py          the fields of a manifest that a task type has
generation_defaults.py  a version's default parameters
answer_form.py          the form that a version's answers have by default
ensembles.py            versions that combine the answers of other versions
targets.py              the versions of an alias, and the choice of one per caller
names.py                names and task references
base_names.py           the spellings of a base model's name
keys.py                 API keys and their rights
records.py              the records that the store takes and returns
checkpoint_records.py   the records of a checkpoint and of a base model
tuning_records.py       the same for files and jobs
batch_records.py        the same for batches
reports.py              the same for maintenance
errors.py               the exceptions of the store
tuning_errors.py        the exceptions of files and tuning jobs
batch_errors.py         the exceptions of batches
strict_json.py          JSON from outside
limits.py               size limits of input from outside
sql/                    tables and queries
migrations/             the schema, revision by revision
"""
